//! How busy this host is, as every Unix tells it (a responder's metric, thesis 3.1.4).
//! Called by `daemon`.

use std::io;

/// The load average of the last minute: processes that run or wait to, on average.
///
/// # Errors
/// When the system does not tell.
pub fn load_average() -> io::Result<f64> {
    let mut averages = [0.0_f64; 1];
    // SAFETY: the system writes at most as many numbers as it is told there is room for.
    let count = unsafe { libc::getloadavg(averages.as_mut_ptr(), 1) };
    let [last_minute] = averages;
    if count == 1 { Ok(last_minute) } else { Err(io::Error::other("the system tells no load average")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_a_number() {
        let load = load_average().expect("a load average");
        assert!(load.is_finite() && load >= 0.0, "{load}");
    }
}
