//! Buffers that packets are received into, used again and again so that no packet costs an allocation.
//! It serves the measured need of one Gbit/s through a user-space node; no RFC has a word on it.
//! Called by the packet intakes below `platform`; `Host::recycle` fills it.

use crate::wire::{PacketBuffer, buffer::HEADROOM};

/// More spare buffers than this are given back to the allocator.
const KEPT: usize = 1024;

/// Spare packet buffers with room for `room` octets of packet each.
#[derive(Debug)]
pub struct Pool {
    spare: Vec<Vec<u8>>,
    room: usize,
}

impl Pool {
    /// A pool of buffers for packets of up to `room` octets.
    pub fn new(room: usize) -> Self {
        Self { spare: Vec::new(), room }
    }

    /// How many octets a packet in one of the buffers can have.
    #[cfg(target_os = "linux")]
    pub fn room(&self) -> usize {
        self.room
    }

    /// A vector of exactly [`HEADROOM`] + room octets of unspecified content.
    #[cfg(any(target_os = "linux", test))]
    pub fn take(&mut self) -> Vec<u8> {
        let mut storage = self.spare.pop().unwrap_or_default();
        storage.resize(HEADROOM + self.room, 0);
        storage
    }

    /// A buffer that holds `length` octets of unspecified content behind fresh headroom.
    pub fn packet(&mut self, length: usize) -> PacketBuffer {
        let mut storage = self.spare.pop().unwrap_or_default();
        storage.resize(HEADROOM + length, 0);
        PacketBuffer::from_storage(storage, HEADROOM)
    }

    /// A buffer that holds a copy of `packet`.
    #[cfg(target_os = "freebsd")]
    pub fn copy(&mut self, packet: &[u8]) -> PacketBuffer {
        let mut buffer = self.packet(packet.len());
        buffer.as_mut_slice().copy_from_slice(packet);
        buffer
    }

    /// Keeps a vector for the next packet.
    pub fn give(&mut self, storage: Vec<u8>) {
        // An outsized one would make every later packet pay for the largest ever seen.
        if self.spare.len() < KEPT && storage.capacity() <= 2 * (HEADROOM + self.room) {
            self.spare.push(storage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_comes_back_with_full_room() {
        let mut pool = Pool::new(100);
        let mut storage = pool.take();
        let place = storage.as_ptr();
        storage.truncate(HEADROOM + 3);
        pool.give(storage);
        let again = pool.take();
        assert_eq!((again.as_ptr(), again.len()), (place, HEADROOM + 100));
        pool.give(vec![0; 100_000]);
        assert!(pool.take().capacity() < 100_000);
    }
}
