//! The fast path of a build without it: it can be asked for and always refuses, so that nobody who calls it needs to
//! know how the program was built. The same signatures as `loader`; the design asks for it. Called by `daemon`.

use std::convert::Infallible;
use std::net::Ipv6Addr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::{Carried, FixedSource, MemberCarried, NextHop, Refusal, Station};
use crate::protocol::action::{Observation, Rule, RuleKey};
use crate::protocol::select::Group;

/// Never made.
pub struct FastPath(Infallible);

impl FastPath {
    /// Nothing is left.
    pub fn folder(_: &str) -> Option<PathBuf> {
        None
    }

    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: &Station) -> Result<Self, Refusal> {
        Err(Refusal("this program was built without the feature ebpf, or not for Linux".to_owned()))
    }

    /// See `loader`.
    pub fn by(&self) -> &'static str {
        match self.0 {}
    }

    /// See `loader`.
    pub fn adopted(&self) -> Vec<(Rule, Duration)> {
        match self.0 {}
    }

    /// See `loader`.
    pub fn adopted_groups(&self) -> Vec<Group> {
        match self.0 {}
    }

    /// See `loader`.
    ///
    /// # Errors
    /// See `loader`.
    pub fn install(
        &mut self,
        _: &Rule,
        _: Option<Duration>,
        _: impl Fn(Ipv6Addr) -> Option<NextHop>,
    ) -> Result<(), Refusal> {
        match self.0 {}
    }

    /// See `loader`.
    ///
    /// # Errors
    /// See `loader`.
    pub fn hold(&mut self, _: &RuleKey, _: Duration) -> Result<(), Refusal> {
        match self.0 {}
    }

    /// See `loader`.
    ///
    /// # Errors
    /// See `loader`.
    pub fn remove(&mut self, _: &RuleKey) -> Result<(), Refusal> {
        match self.0 {}
    }

    /// See `loader`.
    ///
    /// # Errors
    /// See `loader`.
    pub fn forget_next_hops(&mut self, _: impl Fn(Ipv6Addr) -> Option<NextHop>) -> Result<(), Refusal> {
        match self.0 {}
    }

    /// See `loader`.
    ///
    /// # Errors
    /// See `loader`.
    pub fn install_group(&mut self, _: &Group) -> Result<(), Refusal> {
        match self.0 {}
    }

    /// See `loader`.
    ///
    /// # Errors
    /// See `loader`.
    pub fn remove_group(&mut self, _: &Ipv6Addr) -> Result<(), Refusal> {
        match self.0 {}
    }

    /// See `loader`.
    pub fn has_group(&self, _: &Ipv6Addr) -> bool {
        match self.0 {}
    }

    /// See `loader`.
    pub fn fixed(&self, _: &Ipv6Addr, _: &Ipv6Addr) -> Option<FixedSource> {
        match self.0 {}
    }

    /// See `loader`.
    pub fn fix(&mut self, _: &Ipv6Addr, _: &FixedSource) {
        match self.0 {}
    }

    /// See `loader`.
    pub fn sources(&self, _: &Ipv6Addr, _: usize) -> Vec<FixedSource> {
        match self.0 {}
    }

    /// See `loader`.
    pub fn sources_per_member(&self, _: &Ipv6Addr) -> Vec<(u32, usize)> {
        match self.0 {}
    }

    /// See `loader`.
    pub fn forget_sources(&mut self, _: Option<Ipv6Addr>) -> usize {
        match self.0 {}
    }

    /// See `loader`.
    pub fn member_carried(&self, _: &Ipv6Addr) -> Vec<MemberCarried> {
        match self.0 {}
    }

    /// See `loader`.
    pub fn carried(&self) -> Vec<(RuleKey, Carried)> {
        match self.0 {}
    }

    /// See `loader`.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        match self.0 {}
    }

    /// See `loader`.
    pub fn take_peers(&mut self, _: &mut Vec<Observation>) {
        match self.0 {}
    }

    /// See `loader`.
    pub fn in_kernel(&self) -> Value {
        match self.0 {}
    }
}
