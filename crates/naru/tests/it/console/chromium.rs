//! Chromium without a window, spoken to by its debugging protocol over two pipes.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than a page takes beside a compiler.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(5);

/// One browser with one tab.
pub(crate) struct Browser {
    child: Child,
    orders: File,
    answers: File,
    /// What was read of the answers and is not a whole message yet.
    read: Vec<u8>,
    session: Option<String>,
    last: u64,
    /// What pages complained about: exceptions, refused resources, breaches of their policy.
    pub(crate) complaints: Vec<String>,
    _dir: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Browser {
    /// Starts it with an empty profile.
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let [orders, answers] = ["orders", "answers"].map(|name| {
            let path = dir.path().join(name);
            mkfifo(&path, Mode::S_IRWXU).unwrap();
            // Both ways, so that opening waits for nobody; and reading does not, so that it has an end.
            let flags = if name == "answers" { OFlag::O_NONBLOCK.bits() } else { 0 };
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).unwrap()
        });
        // The protocol's pipes are the descriptors 3 and 4.
        let shell = "exec chromium --headless=new --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
                     --disable-dev-shm-usage --user-data-dir=\"$0/profile\" --remote-debugging-pipe about:blank \
                     3<\"$0/orders\" 4>\"$0/answers\"";
        let mut command = Command::new("sh");
        command.args(["-c", shell]).arg(dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let mut browser = Self {
            child,
            orders,
            answers,
            read: Vec::new(),
            session: None,
            last: 0,
            complaints: Vec::new(),
            _dir: dir,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", &json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut order = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&order).unwrap();
        bytes.push(0);
        self.orders.write_all(&bytes).unwrap();
        loop {
            let message = self.message(method);
            if message["id"] == json!(self.last) {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => {
                    self.complaints.push(message["params"]["exceptionDetails"].to_string());
                }
                Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                    self.complaints.push(message["params"]["entry"].to_string());
                }
                _ => {}
            }
        }
    }

    /// The next message: JSON up to a byte of zero.
    fn message(&mut self, method: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == 0) {
                let message = serde_json::from_slice(&self.read[..end]).unwrap();
                self.read.drain(..=end);
                return message;
            }
            let mut part = [0; 64 * 1024];
            match self.answers.read(&mut part) {
                Ok(many) => self.read.extend_from_slice(&part[..many]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK),
                Err(error) => panic!("{method}: {error}"),
            }
            assert!(Instant::now() < deadline, "{method}: no answer");
        }
    }

    /// The window's size, and whether the system prefers dark colours.
    pub(crate) fn resize(&mut self, width: u32, height: u32, is_dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", &features);
    }

    /// Opens a page, and waits until it is whole.
    pub(crate) fn open(&mut self, url: &str) {
        // The mark is gone when the new page is there.
        self.run("window.isFormer = true");
        self.call("Page.navigate", &json!({ "url": url }));
        self.until("!window.isFormer && document.readyState === 'complete'");
    }

    /// Presses a key that writes a letter, wherever the focus is.
    pub(crate) fn press(&mut self, key: &str) {
        self.call("Input.dispatchKeyEvent", &json!({ "type": "keyDown", "key": key, "text": key }));
        self.call("Input.dispatchKeyEvent", &json!({ "type": "keyUp", "key": key }));
    }

    /// What an expression gives.
    pub(crate) fn run(&mut self, script: &str) -> Value {
        let asked = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{script}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression holds.
    pub(crate) fn until(&mut self, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(script) != json!(true) {
            assert!(Instant::now() < deadline, "waited for {script}: {:?}", self.complaints);
            std::thread::sleep(POLL);
        }
    }

    /// The window's picture: a PNG in base64.
    pub(crate) fn picture(&mut self) -> String {
        let shot = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        shot["data"].as_str().unwrap().to_owned()
    }
}
