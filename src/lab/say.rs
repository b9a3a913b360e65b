//! What a lab prints while it runs, with the time since it began, so that a reader of thesis section 5 can follow.
//! Quiet runs print nothing. Used by `lab::run` and, for each action, by `lab::stage`.

use std::time::Instant;

use super::Outcome;
use crate::pcap::report::Verdict;

/// What is printed while the lab runs.
#[derive(Debug, Clone, Copy)]
pub struct Say {
    /// When the lab began.
    pub begin: Instant,
    /// Nothing is printed then.
    pub quiet: bool,
}

impl Say {
    /// A line with the time since the beginning.
    pub fn line(self, text: &str) {
        self.text(&format!("{:6.2} s  {text}\n", self.begin.elapsed().as_secs_f64()));
    }

    /// The name of what comes now.
    pub fn heading(self, text: &str) {
        self.text(&format!("\n== {text}\n"));
    }

    /// Text as it is.
    pub fn text(self, text: &str) {
        use std::io::Write;
        if !self.quiet {
            // Whoever reads this may have gone; the run goes on for its files.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
        }
    }

    /// How it all ended.
    pub fn outcome(self, outcome: &Outcome) {
        let count = |verdict| outcome.findings.iter().filter(|finding| finding.verdict == verdict).count();
        self.text(&format!(
            "\n{} claims held, {} failed, {} skipped in {:.1} s; report: {}\n",
            count(Verdict::Pass),
            count(Verdict::Fail),
            count(Verdict::Skipped),
            outcome.seconds,
            outcome.report.display()
        ));
    }
}
