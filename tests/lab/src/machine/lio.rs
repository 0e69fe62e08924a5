//! An iSCSI array with two controllers: LIO, the kernel's own target, in a guest.
//!
//! What tgtd cannot be: states of the paths (ALUA) that change under a running read, mappings per
//! initiator, write-protected ones, CHAP with today's hashes, digests that the target insists on.
//! Each test makes targets of its own, so that one guest serves them all.

use super::{Machine, MachineSpec};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The port of each controller, in the guest.
const PORT: u16 = 3260;
/// How many hexadecimal digits of the serial go into the name.
const NAME_DIGITS: usize = 25;

/// A name and a secret, for CHAP.
#[derive(Clone, Debug)]
pub struct Account {
    /// Who.
    pub user: String,
    /// At least 12 bytes.
    pub secret: String,
}

/// The only initiator that may log in to a target, and what it sees.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its iSCSI name.
    pub name: String,
    /// The number under which it sees the target's LUN.
    pub lun: u32,
    /// It cannot write to it.
    pub write_protected: bool,
    /// It has to prove itself.
    pub account: Option<Account>,
    /// The target proves itself as well, when it is asked to.
    pub mutual: Option<Account>,
}

/// A target with one LUN, reached by both controllers.
#[derive(Clone, Debug)]
pub struct LioTarget {
    /// Its iSCSI name, in small letters.
    pub name: String,
    /// What the LUN holds at first; the array works on a copy. It must not change once named here.
    pub image: PathBuf,
    /// 32 hexadecimal digits.
    pub serial: String,
    /// The LUN's number.
    pub lun: u32,
    /// `None`: everybody may log in.
    pub client: Option<Client>,
    /// No login without header and data digests.
    pub digests: bool,
}

impl LioTarget {
    /// A LUN 0 for everybody.
    #[must_use]
    pub fn open(name: &str, image: &Path, serial: &str) -> Self {
        let (name, image, serial) = (name.to_owned(), image.to_owned(), serial.to_owned());
        Self { name, image, serial, lun: 0, client: None, digests: false }
    }

    /// The LUN's name: `naa.` and 32 digits, as LIO makes it from the serial.
    #[must_use]
    pub fn naa(&self) -> String {
        let digits: String = self.serial.chars().filter(char::is_ascii_hexdigit).collect();
        format!("naa.6001405{}", &digits[..NAME_DIGITS.min(digits.len())])
    }

    /// The array's own word for the disk.
    fn disk(&self) -> String {
        self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
    }
}

/// The state of a LUN behind one controller (SPC-4, 6.37).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AluaState {
    /// The best way to it.
    Optimized = 0,
    /// Works, at a cost.
    NonOptimized = 1,
    /// Does not read; 02/04/0B.
    Standby = 2,
    /// Answers next to nothing; 02/04/0C.
    Unavailable = 3,
}

/// A running array. Dropping it pulls its plug.
#[derive(Debug)]
pub struct Lio {
    machine: Machine,
}

impl Lio {
    /// Boots it, without targets.
    ///
    /// # Errors
    /// As [`Machine::start`].
    pub fn start(directory: &Path) -> Result<Self> {
        let spec = MachineSpec { cards: vec![vec![PORT], vec![PORT]], ..MachineSpec::default() };
        let machine = Machine::start(directory, &spec)?;
        machine.learn(include_str!("guest/lio.sh"))?;
        machine.tell("target_up iscsi_target_mod").context("loading the kernel's target")?;
        Ok(Self { machine })
    }

    /// The guest itself.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The two controllers, as the host reaches them.
    #[must_use]
    pub fn portals(&self) -> [SocketAddr; 2] {
        [0, 1].map(|card| self.machine.forward(card, PORT))
    }

    /// The two controllers as the array names them to who asks: not to be reached from the host.
    #[must_use]
    pub fn inner_portals(&self) -> [String; 2] {
        [0, 1].map(|card| format!("{}:{PORT}", Machine::address(card)))
    }

    /// Adds a target; its portal groups are 1 and 2.
    ///
    /// # Errors
    /// When the name or the serial is taken, or the kernel refuses.
    pub fn add(&self, target: &LioTarget) -> Result<()> {
        let LioTarget { name, image, serial, lun, .. } = target;
        let disk = target.disk();
        let mut script = format!(
            "disk {disk} '{}' {serial}\narray_target {name} {disk} {lun}\n",
            image.display()
        );
        match &target.client {
            None => writeln!(script, "for_all {name}")?,
            Some(client) => {
                let protected = u8::from(client.write_protected);
                write!(
                    script,
                    "for_client {name} {} {} {lun} {protected}",
                    client.name, client.lun
                )?;
                for account in client.account.iter().chain(&client.mutual) {
                    write!(script, " {} {}", account.user, account.secret)?;
                }
                script.push('\n');
            }
        }
        if target.digests {
            writeln!(script, "insist {name}")?;
        }
        writeln!(script, "each_group {name} enable 1")?;
        self.machine.tell(&script).with_context(|| format!("making the target {name}"))?;
        Ok(())
    }

    /// Changes the state of a target's LUN behind a controller (0 or 1), under whoever reads.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn alua(&self, target: &LioTarget, controller: usize, state: AluaState) -> Result<()> {
        let order = format!("alua {} {controller} {}", target.disk(), state as u8);
        self.machine.tell(&order).map(drop)
    }

    /// Pulls the cable of a controller, or puts it back. Connections are not ended: they are
    /// silent.
    ///
    /// # Errors
    /// When there is no such controller.
    pub fn link(&self, controller: usize, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.machine.tell(&format!("ip link set eth{controller} {state}")).map(drop)
    }

    /// Operation code and second byte of every command that has arrived from an initiator, in
    /// their order, as the array's kernel has recorded it.
    ///
    /// # Errors
    /// When the record is no longer complete.
    pub fn arrived(&self, initiator: &str) -> Result<Vec<(u8, u8)>> {
        commands(&self.machine.tell(&format!("arrived {initiator}"))?)
    }
}

/// Two bytes per line, in hexadecimal digits.
pub(super) fn commands(text: &str) -> Result<Vec<(u8, u8)>> {
    let number = |digits| u8::from_str_radix(digits, 16);
    text.lines()
        .map(|line| {
            let (first, second) = line.split_once(' ').context("two bytes")?;
            Ok((number(first)?, number(second)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_luns_name_is_made_of_its_serial() {
        let serial = "66666666-7777-8888-9999-000000000000";
        let target = LioTarget::open("iqn.2026-01.test.lab:a", Path::new("x"), serial);
        assert_eq!(target.naa(), "naa.60014056666666677778888999900000");
        assert_eq!(target.naa().len(), 4 + 32);
        assert_eq!(target.disk(), "iqn_2026_01_test_lab_a");
    }

    #[test]
    fn commands_are_read_from_a_record() {
        assert_eq!(commands("88 00\na3 0a\n").unwrap(), [(0x88, 0), (0xa3, 0x0a)]);
        assert!(commands("88").is_err());
    }
}
