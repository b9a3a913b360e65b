//! How fast captures are compared and decoded, beside tshark on the same file: `cargo bench --bench pcap_diff`.
//! The big capture is the reference captures of section 5.3 (RFC 3775 return routability, tunnels, TCP) over and over,
//! with addresses changed from round to round. The variable MEGABYTES sets its size, 100 if it is not set.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mga_node::pcap::capture::{self, Capture};
use mga_node::pcap::decode::{Form, decode};
use mga_node::pcap::diff::{Options, compare};

fn main() -> Result<(), Box<dyn Error>> {
    let megabytes: u64 = std::env::var("MEGABYTES").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let mut file = tempfile()?;
    let packets = generate(&mut file, megabytes << 20)?;
    let size = file.seek(SeekFrom::End(0))?;
    println!("{packets} packets, {} MB", size >> 20);
    let tell = |what: &str, octets: u64, time: Duration| {
        let rate = octets as f64 / 1e6 / time.as_secs_f64();
        println!("{what:<52}{:8.2} s {rate:9.1} MB/s", time.as_secs_f64());
        rate
    };
    let mut rates = BTreeMap::new();
    for (what, all) in [("pcap-diff, what concerns Mobile IPv6", false), ("pcap-diff --all", true)] {
        let begin = Instant::now();
        let options = Options { all, ..Options::default() };
        let mut differences = 0;
        let totals = compare(open(&file)?, open(&file)?, &options, &mut |_, _| differences += 1)?;
        assert!(totals.is_same() && differences == 0 && totals.expected == packets, "{totals:?}");
        // It has read two captures of this size.
        rates.insert(what, tell(what, 2 * size, begin.elapsed()));
    }
    for (what, form) in [("decode", Form::Line), ("decode --tree", Form::Tree)] {
        let begin = Instant::now();
        decode(open(&file)?, form, &[], &mut std::io::sink())?;
        tell(what, size, begin.elapsed());
    }
    let fields = ["ipv6.src", "ipv6.dst", "mip6.mhtype", "mip6.bu.seqnr", "mip6.ba.status", "mip6.ba.seqnr"];
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-r", "-", "-T", "fields"]).args(fields.iter().flat_map(|field| ["-e", field]));
    let begin = Instant::now();
    let child = tshark.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    match child {
        Err(error) => println!("tshark: {error}"),
        Ok(mut child) => {
            let mut input = child.stdin.take().ok_or("tshark has no standard input")?;
            std::io::copy(&mut open_file(&file)?, &mut input)?;
            drop(input);
            if !child.wait()?.success() {
                return Err("tshark failed".into());
            }
            let theirs = tell("tshark -T fields", size, begin.elapsed());
            for (what, ours) in rates {
                println!("{what}: {:.1} times as fast as tshark", ours / theirs);
            }
        }
    }
    println!("peak memory of this process: {}", peak());
    Ok(())
}

fn generate(file: &mut File, size: u64) -> Result<u64, Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
    let names = ["kame/kame-section5.3/haa.pcap", "kame/kame-section5.3/ai2.pcap", "umip/umip-5.3/haa.pcap"];
    let mut frames = Vec::new();
    for name in names {
        frames.extend(capture::read(&folder.join(name))?);
    }
    let mut out = BufWriter::new(file);
    // Little endian, microseconds, DLT_RAW.
    out.write_all(&[
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0,
    ])?;
    let (mut written, mut packets) = (24, 0u64);
    for round in 0u32.. {
        for frame in &frames {
            if written >= size {
                out.flush()?;
                return Ok(packets);
            }
            let mut octets = frame.ipv6.clone();
            // 2001:db8:... becomes 2001:ROUND:..., so that conversations come and go; the checksums are wrong then,
            // which costs both programs the same.
            for place in [8, 24] {
                if let Some(group) = octets.get_mut(place + 2..place + 4)
                    && group == [0x0d, 0xb8]
                {
                    group.copy_from_slice(&((round % 4096) as u16).to_be_bytes());
                }
            }
            let at = u32::try_from(packets / 10_000)?;
            let length = u32::try_from(octets.len())?;
            for word in [at, u32::try_from(packets % 10_000)? * 100, length, length] {
                out.write_all(&word.to_le_bytes())?;
            }
            out.write_all(&octets)?;
            written += 16 + u64::from(length);
            packets += 1;
        }
    }
    Ok(packets)
}

fn tempfile() -> std::io::Result<File> {
    let path = std::env::temp_dir().join(format!("mga-node-bench-{}.pcap", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    // Open files outlive their names.
    std::fs::remove_file(path)?;
    Ok(file)
}

/// The file from its beginning, with a position of its own.
fn open_file(file: &File) -> std::io::Result<impl Read + Send + use<>> {
    struct At(File, u64);
    impl Read for At {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let count = std::os::unix::fs::FileExt::read_at(&self.0, into, self.1)?;
            self.1 += count as u64;
            Ok(count)
        }
    }
    Ok(BufReader::with_capacity(1 << 18, At(file.try_clone()?, 0)))
}

fn open(file: &File) -> Result<Capture<impl Read + Send + use<>>, Box<dyn Error>> {
    Ok(Capture::new(open_file(file)?)?)
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".to_owned(), |size| size.trim().to_owned())
}
