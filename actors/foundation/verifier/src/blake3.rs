//! BLAKE3, which chains the records and names what is too long for an entry: the plain form of its specification, for one
//! input at a time.

const IV: [u32; 8] =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];
/// Which word of the block goes where, round after round.
const ORDER: [[usize; 16]; 7] = {
    let step = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    let mut order = [[0; 16]; 7];
    let mut round = 0;
    while round < 7 {
        let mut word = 0;
        while word < 16 {
            order[round][word] = if round == 0 { word } else { order[round - 1][step[word]] };
            word += 1;
        }
        round += 1;
    }
    order
};
const BLOCK: usize = 64;
const CHUNK: usize = 1024;
const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const PARENT: u32 = 4;
const ROOT: u32 = 8;

/// One call of the compression function that is still to be made: as the root, or for what is above.
struct Output {
    chaining: [u32; 8],
    block: [u32; 16],
    counter: u64,
    length: u32,
    flags: u32,
}

impl Output {
    fn value(&self) -> [u32; 8] {
        compress(&self.chaining, &self.block, self.counter, self.length, self.flags)
    }

    fn root(&self) -> [u8; 32] {
        let words = compress(&self.chaining, &self.block, 0, self.length, self.flags | ROOT);
        let mut hash = [0; 32];
        for (bytes, word) in hash.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        hash
    }
}

/// The hash of `input`.
pub fn hash(input: &[u8]) -> [u8; 32] {
    let count = input.len().div_ceil(CHUNK).max(1);
    let mut subtrees: Vec<[u32; 8]> = Vec::new();
    for (index, bytes) in (0..).zip(input.chunks(CHUNK).take(count - 1)) {
        let mut value = chunk(bytes, index).value();
        let mut total = index + 1;
        while total & 1 == 0 {
            value = parent(subtrees.pop().expect("a left neighbour"), value).value();
            total >>= 1;
        }
        subtrees.push(value);
    }
    let mut output = chunk(&input[(count - 1) * CHUNK..], (count - 1) as u64);
    while let Some(left) = subtrees.pop() {
        output = parent(left, output.value());
    }
    output.root()
}

fn chunk(bytes: &[u8], counter: u64) -> Output {
    let count = bytes.len().div_ceil(BLOCK).max(1);
    let mut output = Output { chaining: IV, block: [0; 16], counter, length: 0, flags: CHUNK_START };
    for index in 0..count {
        if index != 0 {
            output.chaining = output.value();
            output.flags = 0;
        }
        let part = &bytes[index * BLOCK..bytes.len().min((index + 1) * BLOCK)];
        let mut padded = [0; BLOCK];
        padded[..part.len()].copy_from_slice(part);
        for (word, four) in output.block.iter_mut().zip(padded.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*four);
        }
        output.length = u32::try_from(part.len()).expect("at most a block");
    }
    output.flags |= CHUNK_END;
    output
}

fn parent(left: [u32; 8], right: [u32; 8]) -> Output {
    let mut block = [0; 16];
    block[..8].copy_from_slice(&left);
    block[8..].copy_from_slice(&right);
    Output { chaining: IV, block, counter: 0, length: 64, flags: PARENT }
}

fn compress(chaining: &[u32; 8], block: &[u32; 16], counter: u64, length: u32, flags: u32) -> [u32; 8] {
    let mut state = [0; 16];
    state[..8].copy_from_slice(chaining);
    state[8..12].copy_from_slice(&IV[..4]);
    let low = u32::try_from(counter & 0xFFFF_FFFF).expect("32 bits");
    let high = u32::try_from(counter >> 32).expect("32 bits");
    state[12..].copy_from_slice(&[low, high, length, flags]);
    for order in &ORDER {
        let word = |at: usize| block[order[at]];
        mix(&mut state, [0, 4, 8, 12], word(0), word(1));
        mix(&mut state, [1, 5, 9, 13], word(2), word(3));
        mix(&mut state, [2, 6, 10, 14], word(4), word(5));
        mix(&mut state, [3, 7, 11, 15], word(6), word(7));
        mix(&mut state, [0, 5, 10, 15], word(8), word(9));
        mix(&mut state, [1, 6, 11, 12], word(10), word(11));
        mix(&mut state, [2, 7, 8, 13], word(12), word(13));
        mix(&mut state, [3, 4, 9, 14], word(14), word(15));
    }
    let mut value = [0; 8];
    for (at, word) in value.iter_mut().enumerate() {
        *word = state[at] ^ state[at + 8];
    }
    value
}

#[inline]
fn mix(state: &mut [u32; 16], [a, b, c, d]: [usize; 4], first: u32, second: u32) {
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(first);
    state[d] = (state[d] ^ state[a]).rotate_right(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(12);
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(second);
    state[d] = (state[d] ^ state[a]).rotate_right(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(7);
}

#[cfg(test)]
mod tests {
    /// Against the library that the authority uses, at every length where something begins or ends.
    #[test]
    fn it_is_blake3() {
        let input: Vec<u8> = (0..=250_u8).cycle().take(70_000).collect();
        let around = |edge: usize| edge.saturating_sub(2)..edge + 3;
        let edges = [0, 64, 128, 1_024, 2_048, 3_072, 4_096, 5_120, 7_168, 8_192, 16_384, 31_744, 65_536];
        for length in edges.into_iter().flat_map(around).chain([70_000]) {
            let (ours, theirs) = (super::hash(&input[..length]), ::blake3::hash(&input[..length]));
            assert_eq!(ours, *theirs.as_bytes(), "{length}");
        }
    }
}
