//! A small generator of random numbers whose state can be saved.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next 64 bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..n`, `n` far below 2^32.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (((self.next_u64() >> 32) * n as u64) >> 32) as usize
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `n` factors of dropout: 0 with probability `rate`, else `1 / (1 - rate)`.
    pub(crate) fn dropout(&mut self, n: usize, rate: f64) -> Vec<f32> {
        let threshold = (rate * 65_536.0) as u16;
        let kept = (1.0 / (1.0 - rate)) as f32;
        let mut factors = Vec::with_capacity(n + 3);
        while factors.len() < n {
            let bits = self.next_u64();
            let draws = [0, 16, 32, 48].map(|shift| (bits >> shift) as u16);
            factors.extend(draws.map(|draw| if draw < threshold { 0.0 } else { kept }));
        }
        factors.truncate(n);
        factors
    }

    /// `n` normal values (Box and Muller).
    pub(crate) fn normal(&mut self, n: usize, std: f64) -> Vec<f32> {
        (0..n)
            .map(|_| {
                let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
                (std * radius * (std::f64::consts::TAU * self.uniform()).cos()) as f32
            })
            .collect()
    }
}
