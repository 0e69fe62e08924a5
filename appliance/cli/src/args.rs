//! The command line as types.

mod restore;
mod vmfs;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::Timestamp;
pub(crate) use restore::VmRestore;
use std::path::PathBuf;
pub(crate) use vmfs::{OnWhat, Vmfs};

/// Back up and restore VMware virtual machines with a Holdfast appliance.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit status: 0 everything succeeded, 1 something failed, 2 wrong usage, \
                        3 the appliance refused, such as to delete a locked recovery point.")]
pub(crate) struct Args {
    /// Address of the appliance's API
    #[arg(long, global = true, env = "HOLDFAST_SERVER", value_name = "URL")]
    #[arg(default_value = "http://127.0.0.1:8080")]
    pub(crate) server: String,
    /// File that holds the token; a token is never an argument, where `ps` would show it
    #[arg(long, global = true, env = "HOLDFAST_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print one JSON document, also for errors
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How the appliance fares
    Status,
    /// The inventory of vCenter or a host, as a tree
    Inventory,
    /// Snapshots of all VMs: whose they seem to be, how old and how large; none is touched
    Snapshots,
    /// Virtual machines of the inventory
    #[command(subcommand)]
    Vm(Vm),
    /// Backups
    #[command(subcommand)]
    Backup(Backup),
    /// Runs: backups and verifications, past and present
    #[command(subcommand)]
    Run(Run),
    /// Recovery points
    #[command(subcommand)]
    Point(Point),
    /// What is stored: reading it again, making room, looking ahead
    #[command(subcommand)]
    Repository(Repository),
    /// The SAN: sessions, LUNs and the paths to them
    #[command(subcommand)]
    San(San),
    /// What lies on a VMFS volume: on images of its LUNs, or on LUNs of the SAN; reads only
    #[command(subcommand)]
    Vmfs(Vmfs),
    /// The record of everything that happened to recovery points, and proofs over it
    #[command(subcommand)]
    Ledger(Ledger),
    /// Print the completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Vm {
    /// List the VMs and how their disks would be read
    List,
    /// Make a VM of a recovery point again, and wait until that has ended
    ///
    /// It is made beside everything else, read back and compared, and only then gets its name. What
    /// is not said is as it was when the point was made.
    Restore(Box<VmRestore>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Back up VMs now, and wait until all runs have ended
    Run {
        /// Names or instance uuids
        #[arg(required = true, value_name = "VM")]
        vms: Vec<String>,
        /// Read everything allocated, even where an incremental were possible
        #[arg(long)]
        full: bool,
        /// How much of what change tracking calls unchanged is read again and compared, in percent;
        /// the configured share when not given
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
        cross_check: Option<u8>,
        /// Whether the guest is brought to rest; as configured when not given
        #[arg(long, value_name = "POLICY")]
        quiesce: Option<Quiesce>,
        /// Which ways to the disks may be used; as configured unless given
        #[arg(long, value_name = "POLICY")]
        transport: Option<Transport>,
        /// What is not kept of the disks; as configured when not given
        #[arg(long, value_name = "WHAT")]
        exclude: Option<Exclude>,
        /// Start the runs and return
        #[arg(long)]
        no_wait: bool,
    },
    /// Keep the configuration of every host, and of the vCenter where there is one, each as a
    /// recovery point of its own: files and no disks
    Configuration {
        /// Start the runs and return
        #[arg(long)]
        no_wait: bool,
    },
}

/// `--transport`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Transport {
    /// From the LUNs of the SAN, or not at all
    SanOnly,
    /// From the SAN; over the network what the SAN does not have
    PreferSan,
    /// Over the network, whole disks
    Network,
}

/// `--exclude`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Exclude {
    /// Everything is kept
    None,
    /// What guests have swapped out is restored as zeros
    Swap,
}

/// `--quiesce`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Quiesce {
    /// Points are as after a power cut
    Never,
    /// Where it fails, as after a power cut, with a warning
    OrCrash,
    /// Where it fails, the run fails
    Must,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Run {
    /// List the runs, newest first
    List,
    /// Ask a run to stop and to clean up after itself
    Cancel {
        /// Id, or its first digits when no other run begins so
        #[arg(value_name = "RUN")]
        id: String,
    },
    /// Show one run
    Show {
        /// Id, or its first digits when no other run begins so
        #[arg(value_name = "RUN")]
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Point {
    /// List the recovery points, newest first
    List {
        /// Only those of this VM: name or instance uuid
        #[arg(long)]
        vm: Option<String>,
    },
    /// Show one recovery point
    Show(PointId),
    /// Read all of a recovery point and compare its hashes
    Verify {
        #[command(flatten)]
        point: PointId,
        /// Start the run and return
        #[arg(long)]
        no_wait: bool,
    },
    /// Write a disk of a recovery point into a file
    Restore {
        #[command(flatten)]
        point: PointId,
        /// Index of the disk, as 'point show' lists it
        #[arg(long, value_name = "N")]
        disk: u32,
        /// The file; it appears under this name when it is whole
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// What the file is
        #[arg(long, value_enum, default_value = "raw")]
        format: Format,
        /// Replace FILE if it exists
        #[arg(long)]
        force: bool,
    },
    /// Write a file that was kept with it, such as the .vmx or holdfast-config.xml
    File {
        #[command(flatten)]
        point: PointId,
        /// Its name, as 'point show' lists it
        #[arg(value_name = "NAME")]
        name: String,
        /// The file; it appears under this name when it is whole
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// Replace FILE if it exists
        #[arg(long)]
        force: bool,
    },
    /// Its lock
    #[command(subcommand)]
    Lock(Lock),
    /// Hold it for a matter, whatever its lock says
    ///
    /// A hold has no end. It is released by an officer who has the right for it, with
    /// 'holdfast-warden officer'; the daemon and its users cannot.
    Hold {
        #[command(flatten)]
        point: PointId,
        /// Name of the matter
        #[arg(long, value_name = "NAME")]
        matter: String,
    },
    /// Delete a recovery point, unless it is locked or held
    Delete {
        #[command(flatten)]
        point: PointId,
        /// Only show what would go and what stands in the way
        #[arg(long)]
        preview: bool,
    },
}

/// What a disk is restored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The disk's bytes, a sparse file
    Raw,
    /// A streamOptimized VMDK, compressed, as hypervisors import it
    Vmdk,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Lock {
    /// Let it end later; it cannot be made to end earlier
    Extend {
        #[command(flatten)]
        point: PointId,
        /// New end, such as 2031-05-01T00:00:00Z
        #[arg(
            long,
            value_name = "TIME",
            conflicts_with = "days",
            required_unless_present = "days"
        )]
        until: Option<Timestamp>,
        /// New end, in days from now by the appliance's own clock
        #[arg(long, value_name = "N")]
        days: Option<u32>,
    },
    /// Turn a governance lock into a compliance lock, for good
    ///
    /// Governance: can be removed by two officers together, on record. Compliance: cannot be
    /// removed by this appliance before the end, by nobody, its makers included. If somebody has
    /// the right to have the data erased earlier, this appliance cannot do it: decide that
    /// before.
    Tighten {
        #[command(flatten)]
        point: PointId,
        /// The end of the lock as 'point show' has it, typed again
        #[arg(long, value_name = "TIME")]
        until: Timestamp,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Repository {
    /// Read what was read longest ago and repair what is damaged, now; waits for it
    ///
    /// The appliance does it by itself over the day. Backups go first. Exit status 1 when something
    /// is damaged beyond repair.
    Scrub {
        /// Everything, not only what is due within a day
        #[arg(long)]
        all: bool,
    },
    /// When it will be full, if what comes in goes on
    Forecast {
        /// From what came in within so many days
        #[arg(long, value_name = "WINDOW", value_parser = clap::value_parser!(u32).range(1..=3660))]
        days: Option<u32>,
        /// What if all that comes in were locked for so many days
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=36500))]
        lock_days: Option<u32>,
    },
    /// Delete what the keep rules of the configuration do not want and no lock keeps
    Expire {
        /// Only show what would go, and what stays and why
        #[arg(long)]
        preview: bool,
    },
    /// Put together what is still needed of mostly dead segments, so that their space comes back
    Compact,
    /// The disks and arrays that the repository lies on
    #[command(subcommand)]
    Volume(Volume),
    /// Encrypt what is stored from now on with a new data key; what is stored does not change
    RotateKey,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// List them, and what the loss of each would take
    List,
    /// Take another disk into the repository, for good
    ///
    /// Mount it at volumes/NUMBER in the repository's directory first, with the owner, group and
    /// mode of that directory ('chown --reference', 'chmod --reference'), and start holdfastd again
    /// afterwards. A recovery point lies wholly on one volume, so a lost disk loses its own points
    /// only.
    Add {
        /// Its number
        #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..))]
        number: u8,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum San {
    /// Ask a portal for its targets
    Discover {
        /// Its address; an IPv6 host stands in brackets
        #[arg(value_name = "HOST:PORT")]
        portal: String,
        /// The targets are where they were asked, whatever addresses they name: for targets behind
        /// address translation
        #[arg(long)]
        as_asked: bool,
    },
    /// Log in where there is no session, look for new LUNs and paths, and show the sessions
    Login {
        /// Only show the sessions
        #[arg(long)]
        show: bool,
    },
    /// List the LUNs within reach
    Luns,
    /// Put on record who accepts that a LUN is presented writable
    ///
    /// Shown from then on instead of the warning. It is withdrawn by itself when the LUN is
    /// presented read-only, or is not the same LUN any more.
    Acknowledge {
        /// Its NAA name, as 'san luns' lists it
        #[arg(value_name = "LUN")]
        lun: String,
        /// Who accepts it
        #[arg(long, value_name = "NAME")]
        by: String,
        /// Why, or in which matter
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// List the paths of every LUN with their states
    Paths,
    /// List the Fibre Channel ports of the appliance and the ports that they see
    Fc,
    /// Measure how a LUN reads: latency, sequential and random throughput
    ///
    /// Reads only, with no more commands at a time than a backup has. Exit status 1 when the LUN
    /// is not what it was when it was found.
    Test {
        /// Its NAA name, as 'san luns' lists it
        #[arg(value_name = "LUN")]
        lun: String,
        /// How long all measurements together take
        #[arg(long, value_name = "N", default_value_t = 6)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=30))]
        seconds: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Show the signed head
    Head {
        /// Write it to a file: keep that somewhere else, and it shows later whether the ledger was
        /// cut back or forged ('ledger proof --since FILE')
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List leaves
    List {
        /// Number of the first one
        #[arg(long, value_name = "N", default_value_t = 0)]
        from: u64,
    },
    /// Check the ledger here, without believing the appliance
    Proof {
        /// That leaf N is in it
        #[arg(long, value_name = "N", conflicts_with = "since")]
        #[arg(required_unless_present = "since")]
        leaf: Option<u64>,
        /// That it goes on from the head in this file, and nothing of it was changed or taken away
        #[arg(long, value_name = "FILE")]
        since: Option<PathBuf>,
        /// The key that signs heads, as you know it ('holdfast-warden head'); else the one that the
        /// appliance names is taken
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct PointId {
    /// Id, or its first digits when no other recovery point begins so
    #[arg(value_name = "POINT")]
    pub(crate) id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }
}
