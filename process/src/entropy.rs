//! Randomness, handed in: database ids, the bytes that blind erased bodies, jitter.

use std::sync::Mutex;
use std::time::Duration;

pub trait Entropy: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
}

impl dyn Entropy + '_ {
    /// 16 random bytes: a database's id, a body's salt.
    pub fn sixteen(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes
    }

    /// A number that work of its own draws from.
    pub fn seed(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A duration between half of `around` and one and a half of it, so that those who failed together do not
    /// come back together.
    pub fn jitter(&self, around: Duration) -> Duration {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        around.mul_f64(0.5 + f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }
}

/// The operating system's.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Linux has it from the first moments after boot; a machine without it can make no database id.
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// The same bytes for the same seed (splitmix64), for tests.
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        SeededEntropy(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Held for these few lines; a poisoned state is as good as any.
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_entropy_repeats_and_jitter_stays_within_half() {
        let (a, b): (Box<dyn Entropy>, Box<dyn Entropy>) =
            (Box::new(SeededEntropy::new(7)), Box::new(SeededEntropy::new(7)));
        assert_eq!(a.sixteen(), b.sixteen());
        assert_ne!(a.sixteen(), a.sixteen());
        for _ in 0..1000 {
            let jittered = a.jitter(Duration::from_secs(2));
            assert!(jittered >= Duration::from_secs(1) && jittered <= Duration::from_secs(3), "{jittered:?}");
        }
    }
}
