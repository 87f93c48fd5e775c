//! `naru control` against a simulated cloud that loses answers and shows machines late, killed at each of its steps. The
//! cloud's own list is the judge: no machine too many, none that nobody pays attention to.

#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use naru_rehearsal::service_process::{ServiceOptions, ServiceProcess};
use tempfile::TempDir;

const NARU: &str = env!("CARGO_BIN_EXE_naru");
/// Longer than anything here takes beside a compiler.
const PATIENCE: Duration = Duration::from_secs(60);
/// Machines that are asked for.
const MACHINES: usize = 3;

/// A cloud, a control, and who asks it.
struct World {
    dir: TempDir,
    cloud: ServiceProcess,
    control: ServiceProcess,
}

async fn role(dir: &Path, role: &str, config: &str, more: &[&str]) -> ServiceProcess {
    let file = dir.join(format!("{role}.toml"));
    std::fs::write(&file, config).unwrap();
    let mut args = vec![role.to_owned(), "--config".to_owned(), file.display().to_string()];
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    let (name, dir) = (role.to_owned(), dir.join(format!("{role}-own")));
    ServiceProcess::start(ServiceOptions { name, program: NARU.into(), args, dir }).await.unwrap()
}

impl World {
    /// With a control that ends itself at a step.
    async fn start(seed: u64, crash_at: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let cloud = format!(
            "state = {:?}\nseed = {seed}\nvisible_max = \"300ms\"\nlost_answer_ppm = 100000\nrequests_per_second = 200\n\
             [[flavor]]\nname = \"small\"\nboot_p50 = \"300ms\"\n",
            dir.path().join("cloud")
        );
        let cloud = role(dir.path(), "cloud-sim", &cloud, &[]).await;
        let state = dir.path().join("control");
        let made = Command::new(NARU)
            .args(["control", "token", "add", "--name", "ann", "--role", "requester", "--team", "growth", "--state"])
            .arg(&state)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(dir.path().join("token"), &made.stdout).unwrap();
        let control = format!(
            "state = {state:?}\nreconcile_interval = \"100ms\"\n\
             [cloud]\naddress = \"{}\"\nsettle = \"500ms\"\nanswer_max = \"1s\"\n\
             [[flavor]]\nname = \"small\"\n\
             [[template]]\nname = \"web-1\"\ncommand = [\"sleep\", \"600\"]\n\
             [[team]]\nname = \"growth\"\nmachines_max = 10\nbudget_krw = 300000\n",
            cloud.address()
        );
        let control = role(dir.path(), "control", &control, &["--crash-at", crash_at]).await;
        let web = "kind = \"service\"\nname = \"web\"\nteam = \"growth\"\ntemplate = \"web-1\"\nflavor = \"small\"\n\
                   count = 3\nhours = 24\n";
        std::fs::write(dir.path().join("web.toml"), web).unwrap();
        Self { dir, cloud, control }
    }

    fn ask(&self, words: &[&str]) -> Output {
        let mut command = Command::new(NARU);
        command.args(words).current_dir(self.dir.path()).env("NARU_CLIENT_AT", self.control.address().to_string());
        command.env("NARU_CLIENT_TOKEN_FILE", self.dir.path().join("token")).output().unwrap()
    }

    /// Asks again while there is no answer; control is started again when it has ended, and ends itself no more.
    async fn insist(&mut self, words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(words);
            let said = String::from_utf8_lossy(&[&answer.stdout[..], &answer.stderr[..]].concat()).into_owned();
            match answer.status.code() {
                Some(0) => return said,
                // No answer: the same again is harmless.
                Some(3) if Instant::now() < deadline => self.revive().await,
                code => panic!("naru {}: {code:?}: {said}", words.join(" ")),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn revive(&mut self) {
        let args = &mut self.control.options_mut().args;
        args.truncate(3);
        self.control.restart().await.unwrap();
    }

    /// Until `naru get web` says so.
    async fn until(&mut self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.insist(&["get", "web"]).await;
            if said.contains(words) {
                return;
            }
            assert!(Instant::now() < deadline, "{words:?} is not in {said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The states of all machines that the cloud ever gave.
    async fn machines(&self) -> Vec<String> {
        let meter = format!("http://{}/meter", self.cloud.address());
        let answer: serde_json::Value = reqwest::get(meter).await.unwrap().json().await.unwrap();
        let rows = answer["rows"].as_array().unwrap();
        rows.iter().map(|row| row["machine"]["state"].as_str().unwrap().to_owned()).collect()
    }
}

/// Asks, plans, applies, gives back; control dies once at `step`.
async fn round(seed: u64, step: &str) {
    let mut world = World::start(seed, step).await;
    world.insist(&["request", "-f", "web.toml"]).await;
    let plan: serde_json::Value = serde_json::from_str(&world.insist(&["plan", "--json"]).await).unwrap();
    world.insist(&["apply", plan["hash"].as_str().unwrap()]).await;
    world.until("3 of 3").await;
    let held = world.machines().await;
    let running = held.iter().filter(|state| *state != "terminated").count();
    assert_eq!(running, MACHINES, "{step}: {held:?}");
    world.insist(&["release", "web"]).await;
    world.until(" gone ").await;
    let left = world.machines().await;
    assert!(left.iter().all(|state| state == "terminated"), "{step}: an orphan: {left:?}");
    assert_eq!(left.len(), MACHINES, "{step}: doubled: {left:?}");
    let args = &world.control.options_mut().args;
    assert_eq!(args.len(), 3, "{step}: control did not come to it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_that_is_killed_at_any_step_leaves_no_orphan_and_no_double() {
    let steps = [
        "applying",
        "applied",
        "asking",
        "created",
        "created:2",
        "created:3",
        "kept",
        "kept:2",
        "kept:3",
        "ready",
        "releasing",
        "deleted",
        "deleted:2",
        "deleted:3",
        "gone",
    ];
    for (seed, step) in steps.into_iter().enumerate() {
        round(seed as u64, step).await;
    }
}
