//! Puts a single frame before a program that is loaded, without a network: the kernel's BPF_PROG_TEST_RUN. So that what
//! the programs do can be held against what `user` does, packet by packet. Called by tests/fast_path and by benches.

use aya::maps::{MapData, ProgramArray};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};

use super::Refusal;
use super::loader::{FastPath, program, refusing};

/// A hook of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// At the agent's link, in the driver.
    AgentXdp,
    /// At the agent's link, at traffic control.
    AgentTc,
    /// At the responder's link.
    ResponderIn,
    /// At the responder's tunnel device.
    ResponderOut,
    /// At the initiator's link.
    InitiatorIn,
    /// At the initiator's tunnel device.
    InitiatorOut,
}

/// What a program made of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The frame goes on to user space and the kernel.
    Left,
    /// The program has it leave.
    Taken,
    /// Neither: a number that means a loss.
    Lost(u32),
}

/// Longest frame that comes back.
const ROOM: usize = 4096;
/// Where `struct xdp_md` has the length and the interface, and how long it is.
const XDP_LENGTH: usize = 4;
const XDP_DEVICE: usize = 12;
const XDP_CONTEXT: usize = 24;
/// Where `struct __sk_buff` has the interface, and how much of it there must be.
const SKB_DEVICE: usize = 40;
const SKB_CONTEXT: usize = 48;

impl Hook {
    fn program(self) -> &'static str {
        match self {
            Hook::AgentXdp => "agent_xdp",
            Hook::AgentTc => "agent_tc",
            Hook::ResponderIn => "responder_in",
            Hook::ResponderOut => "responder_out",
            Hook::InitiatorIn => "initiator_in",
            Hook::InitiatorOut => "initiator_out",
        }
    }
}

impl FastPath {
    /// Has a program that makes frames go on with the XDP program at `hook`, the first of `next`.
    ///
    /// # Errors
    /// What the kernel refused, or the role has no such hook.
    pub fn go_on_with(&mut self, hook: Hook, next: &mut ProgramArray<MapData>) -> Result<(), Refusal> {
        let program: &mut Xdp = program(&mut self.ebpf, hook.program())?;
        let fd = program.fd().map_err(refusing("find a program"))?;
        next.set(0, fd, 0).map_err(refusing("go on with a program"))
    }

    /// Runs the program at `hook` on an Ethernet frame that came in by the interface `device`; returns what it decided
    /// and what the frame is then. A trial counts like any other packet. Must be called in the network namespace of
    /// the interface.
    ///
    /// # Errors
    /// When the kernel does not run it, or the role has no such hook.
    pub fn try_out(&mut self, hook: Hook, device: u32, frame: &[u8]) -> Result<(Verdict, Vec<u8>), Refusal> {
        let mut after = vec![0; ROOM];
        let put = |context: &mut [u8], at: usize, value: u32| {
            context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        let options = |context, after| TestRunOptions {
            data_in: Some(frame),
            data_out: Some(after),
            ctx_in: Some(context),
            ..TestRunOptions::default()
        };
        let name = hook.program();
        let (outcome, left, taken) = if hook == Hook::AgentXdp {
            let mut context = [0; XDP_CONTEXT];
            put(&mut context, XDP_LENGTH, u32::try_from(frame.len()).unwrap_or(u32::MAX));
            put(&mut context, XDP_DEVICE, device);
            let program: &mut Xdp = program(&mut self.ebpf, name)?;
            (program.test_run(options(&context, &mut after)), 2, 3)
        } else {
            let mut context = [0; SKB_CONTEXT];
            put(&mut context, SKB_DEVICE, device);
            let program: &mut SchedClassifier = program(&mut self.ebpf, name)?;
            (program.test_run(options(&context, &mut after)), u32::MAX, 7)
        };
        let outcome = outcome.map_err(refusing("try a frame"))?;
        after.truncate(outcome.data_size_out as usize);
        let verdict = match outcome.return_value {
            value if value == left => Verdict::Left,
            value if value == taken => Verdict::Taken,
            value => Verdict::Lost(value),
        };
        Ok((verdict, after))
    }
}
