//! A lab vCenter of one test: built once, started with a small site, ended with the test.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;
use vsphere::{Client, Config, Thumbprint, Vm, VsphereError};

pub(crate) const USER: &str = "backup@vsphere.local";
pub(crate) const PASSWORD: &str = "Geheim-<&\">-1!";
pub(crate) const NAA: &str = "naa.6001405a1b2c3d4e5f60718293a4b5c6";
pub(crate) const VMFS_UUID: &str = "65f0a1b2-c3d4e5f6-0718-293a4b5c6d7e";
pub(crate) const LUN_SECTORS: u64 = 4 << 20;
pub(crate) const CAPACITY: u64 = 64 << 20;
pub(crate) const DISK: i32 = 2000;
pub(crate) const VM: &str = "web01 <a & b>";
/// What the stand-in for the volume says is allocated.
pub(crate) const ALLOCATED: [(u64, u64); 3] =
    [(0, 1 << 20), (4 << 20, 1 << 20), (CAPACITY - (1 << 20), 1 << 20)];

/// A running lab vCenter.
pub(crate) struct Site {
    child: Child,
    stdin: Option<ChildStdin>,
    _directory: TempDir,
    pub(crate) url: String,
    pub(crate) thumbprint: Thumbprint,
    control: String,
}

/// Starts a site, or says why the test is skipped.
pub(crate) fn start(test: &str) -> Option<Site> {
    start_with(test, |_| ())
}

/// As [`start`], with changes to the configuration.
pub(crate) fn start_with(test: &str, change: impl FnOnce(&mut Value)) -> Option<Site> {
    match program() {
        Ok(program) => Some(Site::launch(program, change)),
        Err(why) => {
            // Not `eprintln!`: its output is captured when a test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
            None
        }
    }
}

impl Site {
    fn launch(program: &Path, change: impl FnOnce(&mut Value)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("site.json");
        let mut site = configuration(directory.path());
        change(&mut site);
        std::fs::write(&config, site.to_string()).unwrap();
        let mut child = Command::new(program)
            .arg("-config")
            .arg(&config)
            .arg("-exit-on-stdin-eof")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect("the lab announces itself");
        Self {
            child,
            stdin: Some(stdin),
            _directory: directory,
            url: ready["sdk"].as_str().unwrap().to_owned(),
            thumbprint: ready["thumbprint"].as_str().unwrap().parse().unwrap(),
            control: ready["control"].as_str().unwrap().trim_start_matches("http://").to_owned(),
        }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            url: self.url.clone(),
            user: USER.into(),
            password: PASSWORD.into(),
            thumbprint: self.thumbprint,
            call_timeout: Duration::from_secs(20),
            task_timeout: Duration::from_secs(20),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.config()).await.unwrap()
    }

    /// Orders something from the control port.
    pub(crate) fn order(&self, path: &str, body: &[u8]) -> Value {
        let (status, answer) = self.http("POST", path, body);
        assert_eq!(status, 200, "POST {path}: {answer}");
        answer
    }

    /// Orders a fault; see the lab's control port.
    pub(crate) fn fault(&self, rule: &Value) {
        self.order("/fault", rule.to_string().as_bytes());
    }

    /// The guest writes `length` bytes at `offset`.
    pub(crate) fn guest_writes(&self, offset: u64, length: usize) {
        let path = format!("/write?vm={}&disk={DISK}&offset={offset}", vm_in_query());
        self.order(&path, &vec![7; length]);
    }

    /// How often the method was called.
    pub(crate) fn calls(&self, method: &str) -> u64 {
        self.state()["calls"][method].as_u64().unwrap_or(0)
    }

    pub(crate) fn state(&self) -> Value {
        self.http("GET", "/state", &[]).1
    }

    fn http(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.control).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: lab\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It ends with its input, and then takes its files away with it.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// The name of the VM as part of a control path.
pub(crate) fn vm_in_query() -> String {
    VM.replace(' ', "%20").replace('<', "%3C").replace('>', "%3E").replace('&', "%26")
}

/// The one VM of the site.
pub(crate) async fn the_vm(client: &Client) -> Vm {
    client.vms().await.unwrap().into_iter().find(|vm| vm.name == VM).unwrap()
}

/// The error with all its causes and its inside, after making sure that no secret is in it.
pub(crate) fn told(error: &VsphereError) -> String {
    let inside = format!("{error:?}");
    let chain = model::chain(error);
    for text in [&inside, &chain] {
        assert!(!text.contains("Geheim") && !text.contains(PASSWORD), "{text}");
    }
    chain
}

/// The site: one VM with one thin disk on a stand-in for a volume, which remembers nothing.
fn configuration(directory: &Path) -> Value {
    let tool = directory.join("vmfs-tool");
    let areas: Vec<Value> = ALLOCATED
        .iter()
        .map(|(offset, length)| json!({"offset": offset, "length": length}))
        .collect();
    let script = format!(
        "#!/bin/sh\ncase $1 in map) echo '{}';; *) exec cat >/dev/null;; esac\n",
        Value::from(areas)
    );
    std::fs::write(&tool, script).unwrap();
    json!({
        "user": USER, "password": PASSWORD, "api_version": "8.0.2.0",
        "datastore": {
            "name": "san01", "naa": NAA, "vmfs_uuid": VMFS_UUID, "capacity": 1_u64 << 30,
            "partition": 1, "lun_sectors": LUN_SECTORS, "image": directory,
        },
        "vmfs_tool": ["/bin/sh", tool],
        "vms": [{
            "name": VM, "folder": "web01", "guest_id": "debian12_64Guest",
            "uuid": "4211f0a0-1111-2222-3333-444455556666",
            "instance_uuid": "5011f0a0-1111-2222-3333-444455556666",
            "disks": [{
                "key": DISK, "unit": 0, "file": "web01/web01.vmdk", "flat": "web01/web01-flat.vmdk",
                "capacity": CAPACITY, "thin": true, "uuid": "6000C29a-1111-2222-3333-444455556666",
                "truth": "",
            }],
        }],
    })
}

/// Builds the lab's vCenter, once for this process.
fn program() -> Result<&'static Path, &'static str> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM.get_or_init(build).as_deref().map_err(String::as_str)
}

fn build() -> Result<PathBuf, String> {
    if Command::new("go").arg("version").output().is_err() {
        return Err("the Go toolchain is not installed".into());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lab/vcenter");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is target/tmp");
    let program = target.join("lab/vcenter");
    let mut go = Command::new("go");
    let output = go.arg("build").arg("-o").arg(&program).arg(".").current_dir(source).output();
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the lab's vCenter does not build:\n{said}");
    Ok(program)
}
