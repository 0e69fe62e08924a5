//! The SAN of a lab: one target of Debian's tgtd on loopback.

use crate::tgtd::{Tgtd, TgtdSpec};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// The name of the one target of a lab.
pub const TARGET: &str = "iqn.2026-01.test.lab:san01";

/// One-way CHAP with MD5, the only algorithm tgtd has.
#[derive(Clone, Debug)]
pub struct Chap {
    /// Who logs in.
    pub user: String,
    /// The secret of the lab, made up for it.
    pub secret: String,
}

/// One logical unit.
#[derive(Clone, Debug)]
pub struct LunSpec {
    /// Its number; tgtd keeps 0 for itself.
    pub number: u32,
    /// The file that holds its bytes.
    pub image: PathBuf,
    /// The 32 hexadecimal digits of its NAA-6 name; the first must be 6.
    pub naa: String,
}

/// What a target is made of.
#[derive(Clone, Debug)]
pub struct TgtSpec {
    /// `None`: everybody may log in.
    pub chap: Option<Chap>,
    /// It agrees to digests, and takes them wherever an initiator can; else it takes none.
    pub digests: bool,
    /// Its logical units.
    pub luns: Vec<LunSpec>,
}

/// A running target. Dropping it stops it.
#[derive(Debug)]
pub struct Tgt {
    spec: TgtSpec,
    tgtd: Tgtd,
}

impl Tgt {
    /// Starts tgtd and sets up the target; its log goes to `directory`.
    ///
    /// # Errors
    /// When tgtd is not installed, does not come up, or refuses its configuration.
    pub fn start(directory: &Path, spec: TgtSpec) -> Result<Self> {
        let tgt = Self { spec, tgtd: Tgtd::start(directory, TgtdSpec::default())? };
        tgt.configure()?;
        Ok(tgt)
    }

    /// `address:port` of the portal.
    #[must_use]
    pub fn portal(&self) -> String {
        self.tgtd.portal().to_string()
    }

    /// What it was made of.
    #[must_use]
    pub fn spec(&self) -> &TgtSpec {
        &self.spec
    }

    /// A LUN's address as libiscsi's tools want it, with the CHAP secret in it.
    #[must_use]
    pub fn libiscsi_url(&self, lun: u32) -> String {
        let login = self
            .spec
            .chap
            .as_ref()
            .map_or_else(String::new, |chap| format!("{}%{}@", chap.user, chap.secret));
        format!("iscsi://{login}{}/{TARGET}/{lun}", self.portal())
    }

    /// Stops tgtd: every session ends at once and the portal refuses connections.
    ///
    /// # Errors
    /// When tgtd had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.tgtd.stop()
    }

    /// Starts it again after [`Tgt::stop`], or stops and starts it: same portal, same LUNs.
    ///
    /// # Errors
    /// As [`Tgt::stop`] and [`Tgt::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.tgtd.run()?;
        self.configure()
    }

    /// Takes a LUN away from under the initiators.
    ///
    /// # Errors
    /// When there is no such LUN.
    pub fn unmap(&self, lun: u32) -> Result<()> {
        self.tgtd.order("logicalunit", "delete", &["--tid", "1", "--lun", &lun.to_string()])
    }

    /// Gives a LUN (back) to the initiators.
    ///
    /// # Errors
    /// When the number is taken or the image cannot be opened.
    pub fn map(&self, lun: &LunSpec) -> Result<()> {
        let names = format!(
            "vendor_id=LAB,product_id=SAN01,product_rev=0001,\
             scsi_sn={},scsi_id={},thin_provisioning=1",
            &lun.naa[lun.naa.len().saturating_sub(16)..],
            lun.naa
        );
        self.tgtd.new_lun(1, lun.number, &lun.image, &names)
    }

    /// Presents a LUN read-only, or writable again. Nobody is told.
    ///
    /// # Errors
    /// When there is no such LUN.
    pub fn present(&self, lun: u32, read_only: bool) -> Result<()> {
        let (lun, value) = (lun.to_string(), format!("readonly={}", u8::from(read_only)));
        let order = ["--tid", "1", "--lun", &lun, "--params", &value];
        self.tgtd.order("logicalunit", "update", &order)
    }

    fn configure(&self) -> Result<()> {
        self.tgtd.new_target(1, TARGET)?;
        for lun in &self.spec.luns {
            self.map(lun)?;
        }
        if let Some(chap) = &self.spec.chap {
            let account = ["--user", &chap.user];
            let secret = ["--password", &chap.secret];
            self.tgtd.order("account", "new", &[account, secret].concat())?;
            self.tgtd.order("account", "bind", &[["--tid", "1"], account].concat())?;
        }
        if self.spec.digests {
            self.tgtd.set(1, &["HeaderDigest=CRC32C", "DataDigest=CRC32C"])?;
        }
        self.tgtd.open(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{program, sparse_file};
    use crate::process::run;
    use std::process::Command;

    const NAA: &str = "624a9370cdef0123456789abcdef0123";

    fn spec(directory: &Path) -> TgtSpec {
        let image = directory.join("lun.img");
        sparse_file(&image, 64 << 20).unwrap();
        let chap = Chap { user: "box".into(), secret: "a-secret-of-16-b".into() };
        let luns = vec![LunSpec { number: 1, image, naa: NAA.into() }];
        TgtSpec { chap: Some(chap), digests: true, luns }
    }

    /// Asks with a tool that no one here wrote; `Ok` is the identification page.
    fn identify(url: &str) -> Result<Vec<u8>> {
        let tool = program("iscsi-inq", "libiscsi-bin")?;
        run(Command::new(tool).args(["-e", "1", "-c", "131", url]))
    }

    #[test]
    fn libiscsi_logs_in_with_the_secret_only_and_sees_the_naa_name() {
        let directory = crate::place::fresh_directory().unwrap();
        let mut tgt = Tgt::start(directory.path(), spec(directory.path())).unwrap();
        let url = tgt.libiscsi_url(1);
        let page = identify(&url).unwrap();
        let name = hex_bytes(NAA);
        assert!(page.windows(16).any(|bytes| bytes == name), "{}", String::from_utf8_lossy(&page));
        let wrong = url.replace("a-secret", "b-secret");
        assert!(identify(&wrong).unwrap_err().to_string().contains("Authentication failure"));
        tgt.unmap(1).unwrap();
        assert!(identify(&url).is_err());
        tgt.restart().unwrap();
        identify(&url).unwrap();
        tgt.stop().unwrap();
        assert!(identify(&url).is_err());
    }

    fn hex_bytes(digits: &str) -> Vec<u8> {
        (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap())
            .collect()
    }
}
