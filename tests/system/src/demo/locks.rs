//! What the demo shows of locks: extending, holding, the record, and somebody who has taken over
//! the daemon.

use super::{Demo, REFUSED, VMS};
use anyhow::{Context as _, Result};
use api::{LedgerHead, PointDetail, Problem, Protection, Status};
use lab::place::built;
use lab::warden::as_daemon;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const MATTER: &str = "audit 2026";

impl Demo {
    fn full_point(&self, vm: &str) -> Result<String> {
        let point = self.points.get(&(vm.to_owned(), "full")).context("the full point exists")?;
        Ok(point.summary.id.to_string())
    }

    /// Locks can be extended and not shortened; a hold has no end.
    pub(super) fn protection(&mut self) -> Result<()> {
        let (web, db) = (self.full_point(VMS[0])?, self.full_point(VMS[1])?);
        let before: PointDetail = self.cli.json(&["point", "show", &web])?;
        let before = before.summary.lock.context("a new point is locked")?.until;
        self.cli.show(&["point", "lock", "extend", &web, "--days", "90"])?;
        let after: PointDetail = self.cli.json(&["point", "show", &web])?;
        let after = after.summary.lock.context("it is still locked")?.until;
        self.summary.judge(
            format!("{}: the lock ends later now", VMS[0]),
            after > before,
            format!("{before} -> {after}"),
        );
        let earlier = before.to_string();
        let shorten = ["--json", "point", "lock", "extend", &web, "--until", &earlier];
        let output = self.cli.output(&shorten)?;
        let problem: Problem = serde_json::from_slice(&output.stdout).context("the refusal")?;
        self.summary.judge(
            format!("{}: the lock cannot be made to end earlier", VMS[0]),
            output.status.code() == Some(REFUSED) && problem.is_refusal(),
            problem.detail,
        );
        let held: Protection = self.cli.json(&["point", "hold", &db, "--matter", MATTER])?;
        self.cli.show(&["point", "delete", "--preview", &db])?;
        let output = self.cli.output(&["--json", "point", "delete", &db])?;
        let problem: Problem = serde_json::from_slice(&output.stdout).context("the refusal")?;
        self.summary.judge(
            format!("{}: a held point is not deleted", VMS[1]),
            held.holds == [MATTER]
                && output.status.code() == Some(REFUSED)
                && problem.code == "point-held",
            problem.detail,
        );
        self.release_by_officer(&db)
    }

    /// The release of a hold needs an officer and his key.
    fn release_by_officer(&mut self, point: &str) -> Result<()> {
        let Some(warden) = &self.warden else { return Ok(()) };
        let action = ["release-hold", "--point", point, "--matter", MATTER];
        let output = warden.officers_do(&["ann"], &action)?;
        let after = self.without_holds(point)?;
        self.summary.judge(
            "an officer's signature releases the hold",
            output.status.success() && after.holds.is_empty(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned(),
        );
        Ok(())
    }

    /// The point once the daemon has read of the release in the ledger, which takes it seconds.
    fn without_holds(&self, point: &str) -> Result<PointDetail> {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let detail: PointDetail = self.cli.json(&["point", "show", point])?;
            if detail.holds.is_empty() || Instant::now() > limit {
                return Ok(detail);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Everything that the daemon's user can try on sealed data and on the record, with commands.
    pub(super) fn taken_over(&mut self, say: &mut dyn FnMut(&str)) -> Result<()> {
        if self.warden.is_none() {
            say("SKIPPED: without root there is one user only, and it owns the repository");
            return Ok(());
        }
        let repository = self.daemon.config.repository.path.clone();
        let segment = largest(&repository.join("segments"))?;
        let bytes = segment.metadata()?.len();
        let leaves = repository.join("ledger").join("leaves");
        let [target, ledger] = [&segment, &leaves].map(|path| path.display().to_string());
        let aside = format!("{target}.aside");
        let attempts: [(&str, &[&str]); 7] = [
            ("rm", &["-f", &target]),
            ("mv", &[&target, &aside]),
            ("truncate", &["--size=0", &target]),
            (
                "dd",
                &["if=/dev/zero", &format!("of={target}"), "bs=4096", "count=1", "conv=notrunc"],
            ),
            ("chattr", &["-i", &target]),
            ("chmod", &["u+w", &target]),
            ("truncate", &["--size=100", &ledger]),
        ];
        let mut through = Vec::new();
        for (program, arguments) in attempts {
            let output = as_daemon(program, arguments)?;
            say(String::from_utf8_lossy(&output.stderr).trim());
            if output.status.success() {
                through.push(program);
            }
        }
        let whole = segment.metadata().is_ok_and(|found| found.len() == bytes);
        self.summary.judge(
            "the daemon's user can neither remove, change nor unlock sealed data",
            whole && through.is_empty(),
            match through.is_empty() {
                true => format!("{} attempts refused", attempts.len()),
                false => format!("not refused: {}", through.join(", ")),
            },
        );
        let status: Status = self.cli.json(&["status"])?;
        let warden = status.repository.warden;
        self.summary.judge(
            "the warden is a process of its own, and what is not enforced is said",
            warden.own_process && warden.answers,
            format!("not enforced here: {}", warden.not_enforced.join("; ")),
        );
        Ok(())
    }

    fn head_file(&self) -> PathBuf {
        self.lab.directory().join("head-after-the-first-backup")
    }

    /// Keeps the head, as somebody outside would.
    pub(super) fn keep_head(&mut self) -> Result<()> {
        let place = self.head_file().display().to_string();
        let _: LedgerHead = self.cli.json(&["ledger", "head", "--output", &place])?;
        Ok(())
    }

    /// The signed head, and that the record goes on from the head that was kept.
    pub(super) fn record(&mut self) -> Result<()> {
        self.cli.show(&["ledger", "head"])?;
        let place = self.head_file().display().to_string();
        let proof: serde_json::Value = self.cli.json(&["ledger", "proof", "--since", &place])?;
        let leaf: serde_json::Value = self.cli.json(&["ledger", "proof", "--leaf", "0"])?;
        self.summary.judge(
            "the record goes on from the head that was kept after the first backup",
            proof["proven"] == true && leaf["proven"] == true,
            format!("{} leaves then, {} now", proof["old"], proof["new"]),
        );
        Ok(())
    }

    /// The offline verifier over the repository, without appliance and warden.
    pub(super) fn offline_check(&mut self) -> Result<()> {
        let repository = &self.daemon.config.repository.path;
        let output =
            Command::new(built("holdfast-verify")?).arg("check").arg(repository).output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        self.summary.judge(
            "the offline verifier finds everything right",
            output.status.success(),
            told.lines().last().unwrap_or_default().to_owned(),
        );
        Ok(())
    }
}

fn largest(folder: &Path) -> Result<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.len(), entry.path()));
    }
    files.into_iter().max().map(|(_, path)| path).context("there are sealed segments")
}
