//! The edge beside bare Pingora, Envoy, HAProxy and nginx, in one run and interleaved. `./x bench edge [PART...]`
//!
//! Parts: `plain`, `tls`, `h2`, `spill`, `crowd`; all when none is named. The first three measure CPU time per request, user and
//! system, read from /proc of the gateway's process: one thread that carries requests, one processor of its own,
//! keep-alive on both sides, answers of 64 bytes, the same back end and the same load (h2load, which others wrote). `spill`
//! measures how requests spill to a rented site when traffic grows tenfold in one step, and on a ramp; `crowd` what core
//! requests, the house and the waiting room make of three times what fits.

mod back_end;
mod bare;
mod cost;
mod crowd;
mod load;
mod spill;
mod subject;
mod world;

use std::process::ExitCode;

use world::{Failure, World};

/// Words with which this program starts itself.
const BACK_END: &str = "play-back-end";
const BARE: &str = "play-bare-pingora";

fn measure(named: &[String]) -> Result<bool, Failure> {
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let world = World::new()?;
    let mut held = true;
    for part in cost::PARTS {
        if wanted(part.name) {
            held &= cost::run(&world, &part)?;
        }
    }
    if wanted("spill") {
        held &= spill::run(&world)?;
    }
    if wanted("crowd") {
        held &= crowd::run(&world)?;
    }
    Ok(held)
}

fn main() -> ExitCode {
    // Cargo adds words of its own, which begin with a dash.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let ended = match words.first().map(String::as_str) {
        Some(BACK_END) => back_end::play(&words[1..]).map(|()| true),
        Some(BARE) => bare::play(&words[1..]).map(|()| true),
        _ => measure(&words),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("\na target is MISSED");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the benchmark could not be run: {error}");
            ExitCode::FAILURE
        }
    }
}
