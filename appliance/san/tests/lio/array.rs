//! The array that all trials share, and how one logs in to it.

use crate::short;
use lab::machine::Machine;
use lab::machine::lio::{Lio, LioTarget};
use lab::place::{FreshDirectory, fresh_directory};
use san::{Lun, PortalConfig, San};
use std::sync::{OnceLock, PoisonError, RwLock};

/// Bytes of a LUN.
pub const SIZE: usize = 6 << 20;

/// The guest, once a trial has asked for it.
#[derive(Default)]
pub struct Site {
    array: OnceLock<Result<Array, Missing>>,
}

/// Why there is no array.
pub enum Missing {
    /// There cannot be one on this machine.
    Impossible(String),
    /// It did not come up.
    Failed(String),
}

pub struct Array {
    pub lio: Lio,
    /// Whoever pulls a cable does so alone.
    cables: RwLock<()>,
    directory: FreshDirectory,
}

impl Site {
    /// The running array. It is started once, also when that fails.
    pub fn array(&self) -> Result<&Array, &Missing> {
        self.array.get_or_init(start).as_ref()
    }
}

fn start() -> Result<Array, Missing> {
    if let Some(why) = Machine::impossible() {
        return Err(Missing::Impossible(why));
    }
    let directory = fresh_directory().unwrap();
    let lio =
        Lio::start(directory.path()).map_err(|error| Missing::Failed(format!("{error:#}")))?;
    Ok(Array { lio, cables: RwLock::default(), directory })
}

/// A target, what its LUN holds, and the name of its only initiator.
pub struct Disk {
    pub target: LioTarget,
    pub content: Vec<u8>,
    pub initiator: String,
}

impl Array {
    /// A target for a trial; `change` sees it before it is made.
    pub fn disk(&self, trial: &str, change: impl FnOnce(&mut LioTarget, &str)) -> Disk {
        let number =
            trial.bytes().fold(7_u64, |sum, byte| sum * 131 % 0xffff_fffb + u64::from(byte));
        let content = lab::noise::bytes(number, SIZE);
        let word = trial.replace('_', "-");
        let image = lab::noise::file(self.directory.path(), &word, &content).unwrap();
        let name = format!("iqn.2026-01.test.lab:{word}");
        let initiator = format!("iqn.2026-01.test.holdfast:{word}");
        let mut target = LioTarget::open(&name, &image, &format!("{number:032x}"));
        change(&mut target, &initiator);
        self.lio.add(&target).unwrap();
        Disk { target, content, initiator }
    }

    /// Holds while both cables have to be in: what every trial does but those that pull one.
    pub fn connected(&self) -> impl Drop {
        self.cables.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else needs the cables.
    pub fn alone(&self) -> impl Drop {
        self.cables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A way to a disk by a controller, with short times so that faults show soon.
    pub fn way(&self, disk: &Disk, controller: usize) -> PortalConfig {
        let portal = self.lio.portals()[controller].to_string();
        short::times(portal, &disk.target.name, &disk.initiator)
    }
}

/// Runs what has to wait; telling the array something blocks, and reading goes on meanwhile.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

pub fn only_lun(san: &San) -> Lun {
    assert_eq!(san.luns().len(), 1, "{:?}", san.skipped());
    san.luns()[0].clone()
}

/// Reads the whole LUN, in pieces that fit no block, and compares.
pub async fn assert_equal(lun: &Lun, content: &[u8]) {
    let mut read = Vec::with_capacity(content.len());
    while read.len() < content.len() {
        let length = 1_000_001.min(content.len() - read.len());
        read.extend_from_slice(&lun.read(read.len() as u64, length).await.unwrap());
    }
    assert_eq!(lab::noise::difference(&read, content), None);
}
