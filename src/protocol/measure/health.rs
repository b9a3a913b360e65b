//! Whether an application is well, from its checks: so many in a row must agree before the responder comes or goes
//! (thesis 3.1.4 "accessibility"). A service that wavers must not make its responder flap.
//! Called by the responder.

/// How checks become a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// Good checks in a row that bring a responder back; one suffices for the first time.
    pub rise: u32,
    /// Failed checks in a row that withdraw it.
    pub fall: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self { rise: 2, fall: 3 }
    }
}

/// The health of one application. Before the first check it is not known to be well.
#[derive(Clone, Debug)]
pub struct Health {
    config: HealthConfig,
    well: Option<bool>,
    /// Checks in a row that speak against what is believed.
    against: u32,
}

impl Health {
    /// Health of which nothing is known.
    pub fn new(config: HealthConfig) -> Self {
        Self { config, well: None, against: 0 }
    }

    /// Takes the result of a check; tells when what is believed has changed, and to what.
    pub fn check(&mut self, well: bool) -> Option<bool> {
        if self.well == Some(well) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let wanted = match (self.well, well) {
            (None, _) => 1,
            (_, true) => self.config.rise,
            (_, false) => self.config.fall,
        };
        if self.against < wanted {
            return None;
        }
        self.against = 0;
        self.well = Some(well);
        self.well
    }

    /// What is believed; `None` before the first check.
    pub fn is_well(&self) -> Option<bool> {
        self.well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_checks_in_a_row_change_what_is_believed() {
        let mut health = Health::new(HealthConfig { rise: 2, fall: 3 });
        let mut check = |results: &str| -> Vec<Option<bool>> {
            results.chars().map(|result| health.check(result == '+')).collect()
        };
        assert_eq!(check("+++"), [Some(true), None, None], "the first check decides");
        assert_eq!(check("--+--+"), [None; 6], "never three in a row");
        assert_eq!(check("----"), [None, None, Some(false), None]);
        assert_eq!(check("+-+-"), [None; 4], "never two in a row");
        assert_eq!(check("++"), [None, Some(true)]);
    }

    #[test]
    fn a_first_check_that_fails_keeps_the_responder_out() {
        let mut health = Health::new(HealthConfig::default());
        assert_eq!(health.is_well(), None);
        assert_eq!(health.check(false), Some(false));
        assert_eq!([health.check(true), health.check(true)], [None, Some(true)]);
    }
}
