//! A packet in memory with room in front of it, so that a header can be added without moving the payload.
//! It is what RFC 2473 encapsulation and the RFC 3775 rewrites work on.
//! Made by the packet intakes of `platform`, rewritten by `forwarding`, sent by `platform`.

/// Octets kept free in front of a packet: one virtio header, one tunnel header, one option or routing header.
pub const HEADROOM: usize = 128;

/// One IPv6 packet (no link-layer header) with [`HEADROOM`] octets of free space in front.
/// Two are equal when their packets are, whatever the space in front.
#[derive(Clone, Debug, Default)]
pub struct PacketBuffer {
    storage: Vec<u8>,
    start: usize,
}

impl PacketBuffer {
    /// Copies `packet` behind fresh headroom.
    pub fn new(packet: &[u8]) -> Self {
        let mut storage = vec![0; HEADROOM];
        storage.extend_from_slice(packet);
        Self { storage, start: HEADROOM }
    }

    /// A buffer of `length` zero octets behind fresh headroom.
    pub fn zeroed(length: usize) -> Self {
        Self { storage: vec![0; HEADROOM + length], start: HEADROOM }
    }

    /// Takes over a vector whose packet begins at `start`.
    ///
    /// # Panics
    /// When `start` lies beyond the end of `storage`.
    pub fn from_storage(storage: Vec<u8>, start: usize) -> Self {
        assert!(start <= storage.len(), "a packet begins inside its storage");
        Self { storage, start }
    }

    /// Gives the vector and the offset of the packet in it back, for reuse of the allocation.
    pub fn into_storage(self) -> (Vec<u8>, usize) {
        (self.storage, self.start)
    }

    /// The packet's octets.
    pub fn as_slice(&self) -> &[u8] {
        &self.storage[self.start..]
    }

    /// The packet's octets, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..]
    }

    /// Length of the packet in octets.
    pub fn len(&self) -> usize {
        self.storage.len() - self.start
    }

    /// True when there is no octet in the packet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `count` octets in front of the packet and returns them; their content is unspecified.
    pub fn prepend(&mut self, count: usize) -> &mut [u8] {
        if self.start < count {
            let missing = count - self.start + HEADROOM;
            self.storage.splice(0..0, std::iter::repeat_n(0, missing));
            self.start += missing;
        }
        self.start -= count;
        &mut self.storage[self.start..self.start + count]
    }

    /// Removes the first `count` octets of the packet (all of them when there are fewer).
    pub fn strip(&mut self, count: usize) {
        self.start = (self.start + count).min(self.storage.len());
    }

    /// Cuts off what follows the first `length` octets of the packet; a shorter packet stays as it is.
    pub fn truncate(&mut self, length: usize) {
        self.storage.truncate(self.start.saturating_add(length));
    }

    /// Opens a gap of `count` octets after the first `offset` octets of the packet and returns it;
    /// only the octets in front of the gap move, and the gap's content is unspecified.
    ///
    /// # Panics
    /// When `offset` lies beyond the end of the packet.
    pub fn insert(&mut self, offset: usize, count: usize) -> &mut [u8] {
        assert!(offset <= self.len(), "a gap opens inside the packet");
        self.prepend(count);
        let packet = self.as_mut_slice();
        packet.copy_within(count..count + offset, 0);
        &mut packet[offset..offset + count]
    }

    /// Removes `count` octets that follow the first `offset` octets; only the octets in front move.
    ///
    /// # Panics
    /// When the range lies beyond the end of the packet.
    pub fn remove(&mut self, offset: usize, count: usize) {
        assert!(offset + count <= self.len(), "a cut lies inside the packet");
        let packet = self.as_mut_slice();
        packet.copy_within(0..offset, count);
        self.strip(count);
    }
}

impl PartialEq for PacketBuffer {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for PacketBuffer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_and_remove_are_inverse_and_keep_the_tail() {
        let mut buffer = PacketBuffer::new(b"headTAIL");
        buffer.insert(4, 3).copy_from_slice(b"gap");
        assert_eq!(buffer.as_slice(), b"headgapTAIL");
        buffer.remove(4, 3);
        assert_eq!(buffer.as_slice(), b"headTAIL");
    }

    #[test]
    fn prepend_grows_when_the_headroom_is_used_up() {
        let mut buffer = PacketBuffer::from_storage(b"xy".to_vec(), 0);
        buffer.prepend(2).copy_from_slice(b"ab");
        assert_eq!(buffer.as_slice(), b"abxy");
        assert_eq!(buffer.len(), 4);
    }

    #[test]
    fn truncate_cuts_the_tail_and_never_grows() {
        let mut buffer = PacketBuffer::new(b"packetTAIL");
        buffer.truncate(6);
        assert_eq!(buffer.as_slice(), b"packet");
        buffer.truncate(usize::MAX);
        assert_eq!(buffer, PacketBuffer::from_storage(b"packet".to_vec(), 0));
    }

    #[test]
    fn strip_beyond_the_end_leaves_an_empty_packet() {
        let mut buffer = PacketBuffer::new(b"ab");
        buffer.strip(9);
        assert!(buffer.is_empty());
    }
}
