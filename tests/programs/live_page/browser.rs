//! Drives a headless Chromium through the protocol of its developer tools.

use std::fs;
use std::net::TcpStream;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tallyd_harness::process::Running;
use tallyd_harness::{TIMEOUT, wait_for, wait_for_ok};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// A browser with one page.
pub(super) struct Browser {
    connection: WebSocket<TcpStream>,
    /// The session that controls the page.
    session: Option<String>,
    /// The number of the latest command.
    number: u64,
    /// What the browser reported without having been asked.
    events: Vec<Value>,
    _process: Running,
    _profile: TempDir,
}

/// A key, with the names and the code that the protocol has for it.
#[derive(Clone, Copy)]
pub(super) struct Key(&'static str, u32, &'static str);

impl Key {
    pub(super) const TAB: Self = Self("Tab", 9, "");
    pub(super) const ENTER: Self = Self("Enter", 13, "\r");
}

impl Browser {
    /// Starts a browser with an empty page.
    pub(super) fn start() -> Self {
        let profile = TempDir::new().unwrap();
        let mut command = std::process::Command::new("chromium");
        command
            // The tests may run as root, for whom Chromium has no sandbox.
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Running::start(&mut command);
        // The file has the port, and the path of the WebSocket in its second line.
        let address = wait_for(|| {
            let text = fs::read_to_string(profile.path().join("DevToolsActivePort")).ok()?;
            let (port, path) = text.split_once('\n')?;
            Some(format!("127.0.0.1:{port} {path}"))
        });
        let (host, path) = address.split_once(' ').unwrap();
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let (connection, _) = tungstenite::client(format!("ws://{host}{path}"), stream).unwrap();
        let mut browser = Self {
            connection,
            session: None,
            number: 0,
            events: Vec::new(),
            _process: process,
            _profile: profile,
        };
        let target = browser.command("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.command("Target.attachToTarget", &attach);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Audits"] {
            browser.command(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Opens an address, and waits until its document is there.
    pub(super) fn open(&mut self, address: &str) {
        let answer = self.command("Page.navigate", &json!({"url": address}));
        assert_eq!(answer.get("errorText"), None, "{address}");
        self.wait_until("document.readyState === 'complete'");
    }

    /// Sets the size of the page in pixels, and the color scheme.
    pub(super) fn show_as(&mut self, width: u32, height: u32, scheme: &str) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.command("Emulation.setDeviceMetricsOverride", &metrics);
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.command("Emulation.setEmulatedMedia", &json!({"features": [feature]}));
    }

    /// Returns the value of a JavaScript expression. The page's policy does not apply to it.
    #[track_caller]
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        self.try_evaluate(expression).unwrap_or_else(|error| panic!("{error}: {expression}"))
    }

    fn try_evaluate(&mut self, expression: &str) -> Result<Value, String> {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.command("Runtime.evaluate", &parameters);
        match answer.get("exceptionDetails") {
            Some(error) => Err(error["exception"]["description"].to_string()),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Waits until an expression is true. An exception counts as false, because an element may not be there yet.
    #[track_caller]
    pub(super) fn wait_until(&mut self, expression: &str) {
        self.wait_while_doing(expression, || {});
    }

    /// Waits until an expression is true, and repeats an action until then. Some parts of the page show only the latest interval, so
    /// a slow page can miss what was sent once.
    #[track_caller]
    pub(super) fn wait_while_doing(&mut self, expression: &str, action: impl Fn()) {
        wait_for_ok(|| {
            action();
            match self.try_evaluate(expression) {
                Ok(Value::Bool(true)) => Ok(()),
                found => {
                    Err(format!("{expression} is {found:?}; the page reported {:#?}", self.disturbances()))
                }
            }
        });
    }

    /// Waits until an expression has this value.
    #[track_caller]
    pub(super) fn wait_for_value(&mut self, expression: &str, value: &Value) {
        wait_for_ok(|| match self.try_evaluate(expression) {
            Ok(found) if found == *value => Ok(()),
            found => Err(format!(
                "{expression} is {found:?} instead of {value}; the page reported {:#?}",
                self.disturbances()
            )),
        });
    }

    /// Presses a key and releases it.
    pub(super) fn press(&mut self, Key(name, code, text): Key) {
        let mut event = json!({"key": name, "code": name, "windowsVirtualKeyCode": code, "text": text});
        for kind in [if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "keyUp"] {
            event["type"] = kind.into();
            self.command("Input.dispatchKeyEvent", &event);
        }
    }

    /// Types a text into the element that has the focus.
    pub(super) fn type_text(&mut self, text: &str) {
        self.command("Input.insertText", &json!({"text": text}));
    }

    /// Returns a PNG of the upper part of the page, as large as the window.
    pub(super) fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.command("Page.captureScreenshot", &json!({"format": "png"}));
        STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }

    /// Asserts that the page logged nothing, threw nothing, and violated no policy.
    #[track_caller]
    pub(super) fn assert_undisturbed(&mut self) {
        // Events that came before the answer are then among the events.
        self.evaluate("0");
        let disturbances = self.disturbances();
        assert!(disturbances.is_empty(), "{disturbances:#?}");
    }

    fn disturbances(&self) -> Vec<&Value> {
        self.events.iter().filter(|event| is_disturbance(event)).collect()
    }

    /// Sends a command, and returns its result.
    #[track_caller]
    fn command(&mut self, method: &str, parameters: &Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.connection.send(Message::text(message.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.connection.read().unwrap() else { continue };
            let answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.number {
                assert_eq!(answer.get("error"), None, "{method} {parameters}");
                return answer["result"].clone();
            }
            // The page stops until somebody closes the dialog.
            assert_ne!(answer["method"], "Page.javascriptDialogOpening", "{answer}");
            self.events.push(answer);
        }
    }
}

/// Returns true for an event that the page never causes. Tests ask for series that do not exist, so requests may fail.
fn is_disturbance(event: &Value) -> bool {
    match event["method"].as_str().unwrap_or_default() {
        "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" => true,
        "Log.entryAdded" => event["params"]["entry"]["source"] != "network",
        "Audits.issueAdded" => event["params"]["issue"]["code"] == "ContentSecurityPolicyIssue",
        _ => false,
    }
}
