//! Captures: reading them, following one packet through several of them, drawing and reporting.
//! The conversations are those of RFC 3775 and of thesis section 5; nothing here calls the operating system beyond
//! reading files.
//! `lab` judges and draws its runs with it; comparing two captures builds on the same passages.

pub mod allow;
pub mod capture;
pub mod clocks;
pub mod comparison;
pub mod decode;
pub mod diff;
pub mod ladder;
pub mod normalise;
pub mod passage;
pub mod report;
pub mod tree;
pub mod view;
