//! Sequential (or random) reads of one LUN, as JSON: `san-bench PORTAL[,PORTAL] TARGET LUN SECONDS
//! BLOCK DEPTH [random] [digests]`. LUN is an NAA name or a number. The measure that libiscsi's
//! iscsi-perf is compared with.

use san::{Lun, PortalConfig, San};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [portal, target, lun, seconds, block, depth, flags @ ..] = arguments.as_slice() else {
        return Err(
            "usage: san-bench PORTAL[,PORTAL] TARGET LUN SECONDS BLOCK DEPTH [random] [digests]"
                .into(),
        );
    };
    let (block, depth): (usize, u16) = (block.parse()?, depth.parse()?);
    let flag = |name: &str| flags.iter().any(|flag| flag == name);
    let config = |portal: &str| PortalConfig {
        portal: portal.to_owned(),
        target: target.clone(),
        initiator: "iqn.2026-01.test.holdfast:bench".into(),
        queue_depth: depth,
        lun_depth: depth,
        header_digest: flag("digests"),
        data_digest: flag("digests"),
        ..PortalConfig::default()
    };
    let san = San::login(portal.split(',').map(config).collect()).await?;
    let lun = find(&san, lun)?;
    let limit = Duration::from_secs_f64(seconds.parse()?);
    let (cpu, begun) = (cpu_time(), Instant::now());
    let bytes = read_for(&lun, limit, block, depth, flag("random")).await?;
    let (cpu, wall) = (cpu_time() - cpu, begun.elapsed().as_secs_f64());
    let gib = bytes as f64 / f64::from(1 << 30);
    let result = serde_json::json!({
        "mib_per_s": gib * 1024.0 / wall,
        "iops": bytes as f64 / block as f64 / wall,
        "cpu_s_per_gib": cpu / gib,
        "block": block,
        "depth": depth,
        "seconds": wall,
    });
    write_line(&result.to_string())?;
    san.logout().await;
    Ok(())
}

fn write_line(line: &str) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}")
}

fn find(san: &San, wanted: &str) -> Result<Lun, Failure> {
    if let Ok(name) = wanted.parse() {
        return Ok(san.find(&name)?);
    }
    let number: u16 = wanted.parse()?;
    let lun = san.luns().into_iter().find(|lun| lun.info().lun.number() == Some(number));
    Ok(lun.ok_or("no such LUN")?)
}

/// `depth` readers take turns at the next block until the time is over.
async fn read_for(
    lun: &Lun,
    limit: Duration,
    block: usize,
    depth: u16,
    random: bool,
) -> Result<u64, Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + limit;
    let mut readers = Vec::new();
    for _ in 0..depth {
        let (lun, next) = (lun.clone(), Arc::clone(&next));
        readers.push(tokio::spawn(async move {
            let blocks = lun.info().capacity / block as u64;
            let mut buffer = bytes::BytesMut::new();
            let mut bytes = 0;
            while Instant::now() < end {
                let turn = next.fetch_add(1, Relaxed);
                // Multiplying by an odd constant visits blocks in no order a cache could guess.
                let at = if random { turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) } else { turn };
                buffer = lun.read_into(at % blocks * block as u64, block, buffer).await?;
                bytes += buffer.len() as u64;
            }
            Ok::<u64, san::SanError>(bytes)
        }));
    }
    let mut bytes = 0;
    for reader in readers {
        bytes += reader.await??;
    }
    Ok(bytes)
}

/// Processor seconds of this process, in user and kernel mode together.
fn cpu_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
