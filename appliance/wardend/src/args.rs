//! The command line as types.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use warden::sandbox::Account;

/// Where the warden listens unless told otherwise.
pub(crate) const SOCKET: &str = "/run/holdfast-warden/socket";

/// The warden of a Holdfast repository: the only process that seals, commits and deletes.
#[derive(Debug, Parser)]
#[command(name = "holdfast-warden", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new repository
    Create(Create),
    /// Run the warden of a repository until it is stopped
    ///
    /// Started as root it gives up every right but those it needs and becomes --user. Started as
    /// somebody else (development) it does the same work; what is then not enforced is said at the
    /// start and in the status.
    Serve(Serve),
    /// Show how a running warden is
    Status(Ask),
    /// Print the signed head of the ledger, and the key that verifies it
    ///
    /// A head that is kept somewhere else shows later whether the ledger was cut back or forged.
    Head(Ask),
    /// Keys and signatures of officers
    ///
    /// An officer makes a key on a machine of his own (`new`), is enrolled with its public part and
    /// signs single actions with it (`sign`). The key never comes to the appliance.
    Officer {
        #[command(subcommand)]
        command: Officer,
    },
}

/// Directories of the warden.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The repository
    #[arg(long, value_name = "DIR")]
    pub(crate) repository: PathBuf,
    /// The warden's own directory: its signing key and the last head it signed. It must not lie
    /// on the repository's disks
    #[arg(long, value_name = "DIR")]
    pub(crate) state: PathBuf,
    /// User of the daemon (name, number, or number:number)
    #[arg(long, value_name = "USER", value_parser = account)]
    pub(crate) daemon_user: Account,
    /// User to become (name, number, or number:number); only root can
    #[arg(long, value_name = "USER", value_parser = account)]
    pub(crate) user: Option<Account>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Bytes of a chunk: a power of two, 65536 to 8388608
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    pub(crate) chunk_size: u32,
    /// Shortest lock that may be written, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) min_lock: u64,
    /// Longest lock that may be written, seconds. A short one keeps a first trial from locking
    /// anybody out
    #[arg(long, value_name = "SECONDS", default_value_t = 10 * 366 * 86_400)]
    pub(crate) max_lock: u64,
    /// Encrypt what is stored: makes this new file with the daemon's key, and prints the recovery
    /// key, once. Who has neither of them reads nothing any more
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_key_file: Option<PathBuf>,
    /// An officer, as `officer new` printed it: NAME=KEY, with rights NAME=KEY=RIGHT,RIGHT
    /// (release-hold, override; both unless given). Two or more are needed to free anything
    #[arg(long = "officer", value_name = "NAME=KEY[=RIGHTS]", value_parser = enrolled)]
    pub(crate) officers: Vec<Enrolled>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Socket for the daemon and for officers
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
    /// Do not set the immutable attribute on sealed segments (development: files can be removed
    /// without root)
    #[arg(long)]
    pub(crate) no_immutable: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ask {
    /// Socket of the warden
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Officer {
    /// Make a key and print its public part
    New {
        /// New file for the secret key; keep it to yourself
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Name of the officer
        #[arg(long)]
        name: String,
    },
    /// Get something to sign from a running warden: its origin and a challenge, good once and for
    /// ten minutes
    Challenge(Ask),
    /// Sign an action on the officer's own machine; prints NAME=SIGNATURE
    Sign {
        /// File of the secret key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Origin of the repository, as `officer challenge` printed it
        #[arg(long)]
        origin: String,
        /// Challenge, as `officer challenge` printed it
        #[arg(long, value_name = "HEX")]
        challenge: String,
        /// What is to be done
        #[command(subcommand)]
        action: Action,
    },
    /// Hand a signed action to the warden
    Submit {
        /// Socket of the warden
        #[arg(long, value_name = "PATH", default_value = SOCKET)]
        socket: PathBuf,
        /// The challenge that was signed
        #[arg(long, value_name = "HEX")]
        challenge: String,
        /// A signature, as `officer sign` printed it; one for each officer. None: as root at the
        /// machine, for officers and bounds, while there are no two officers
        #[arg(long = "signature", value_name = "NAME=SIGNATURE", value_parser = pair)]
        signatures: Vec<(String, String)>,
        /// What is to be done, word for word as it was signed
        #[command(subcommand)]
        action: Action,
    },
}

/// What officers can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// End a legal hold
    ReleaseHold {
        /// The recovery point
        #[arg(long)]
        point: String,
        /// Name of the matter
        #[arg(long)]
        matter: String,
    },
    /// End a governance lock now
    Override {
        /// The recovery point
        #[arg(long)]
        point: String,
        /// Why; it goes on record
        #[arg(long)]
        reason: String,
    },
    /// Forbid overrides, for ever
    OverridesOff,
    /// Bring a person into office
    Enrol {
        /// Name; one person, one name
        #[arg(long)]
        name: String,
        /// Public key, as `officer new` printed it after the name
        #[arg(long, value_name = "KEY")]
        public_key: String,
        /// A right; may be repeated
        #[arg(long = "right", required = true)]
        rights: Vec<RightArg>,
    },
    /// Take a person out of office
    Dismiss {
        /// Name
        #[arg(long)]
        name: String,
    },
    /// Set the limits of locks to come
    SetBounds {
        /// Shortest, seconds
        #[arg(long, value_name = "SECONDS")]
        min_lock: u64,
        /// Longest, seconds
        #[arg(long, value_name = "SECONDS")]
        max_lock: u64,
    },
}

/// A right of an officer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RightArg {
    /// Releases legal holds
    ReleaseHold,
    /// Overrides governance locks
    Override,
}

/// An officer of a new repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Enrolled {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) rights: Vec<RightArg>,
}

fn account(text: &str) -> Result<Account, String> {
    Account::find(text).map_err(|error| model::chain(&error))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A key in base64 ends with one `=` of its own.
fn enrolled(text: &str) -> Result<Enrolled, String> {
    let (name, rest) = pair(text)?;
    let (key, rights) = match rest.split_once("==") {
        Some((key, rights)) => (format!("{key}="), rights),
        None => (rest, "release-hold,override"),
    };
    let rights = rights.split(',').map(|right| RightArg::from_str(right, false));
    Ok(Enrolled { name, key, rights: rights.collect::<Result<_, _>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_officer_has_both_rights_unless_told() {
        let both = enrolled("ann=AAAA=").unwrap();
        assert_eq!((both.name.as_str(), both.key.as_str()), ("ann", "AAAA="));
        assert_eq!(both.rights, [RightArg::ReleaseHold, RightArg::Override]);
        let one = enrolled("ann=AAAA==override").unwrap();
        assert_eq!((one.key.as_str(), one.rights), ("AAAA=", vec![RightArg::Override]));
        for wrong in ["ann", "ann=AAAA==everything", "ann=AAAA=="] {
            assert!(enrolled(wrong).is_err(), "{wrong}");
        }
    }
}
