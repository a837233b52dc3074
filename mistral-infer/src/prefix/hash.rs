//! XXH64 (Collet, "xxHash fast digest algorithm", specification 0.1.1): a hash that reads memory as
//! fast as it comes. It finds accidents, not forgers: whoever writes a file also writes its hash.

const P: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

fn round(sum: u64, word: u64) -> u64 {
    sum.wrapping_add(word.wrapping_mul(P[1]))
        .rotate_left(31)
        .wrapping_mul(P[0])
}

/// The hash of `data`.
pub(super) fn xxh64(data: &[u8], seed: u64) -> u64 {
    let (stripes, rest) = data.as_chunks::<32>();
    let mut hash = if stripes.is_empty() {
        seed.wrapping_add(P[4])
    } else {
        lanes(stripes, seed)
    };
    hash = hash.wrapping_add(data.len() as u64);
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        hash ^= round(0, u64::from_le_bytes(*word));
        hash = hash.rotate_left(27).wrapping_mul(P[0]).wrapping_add(P[3]);
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(P[0]);
        hash = hash.rotate_left(23).wrapping_mul(P[1]).wrapping_add(P[2]);
    }
    for byte in rest {
        hash ^= u64::from(*byte).wrapping_mul(P[4]);
        hash = hash.rotate_left(11).wrapping_mul(P[0]);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(P[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(P[2]);
    hash ^ (hash >> 32)
}

fn lanes(stripes: &[[u8; 32]], seed: u64) -> u64 {
    let mut sums = [
        seed.wrapping_add(P[0]).wrapping_add(P[1]),
        seed.wrapping_add(P[1]),
        seed,
        seed.wrapping_sub(P[0]),
    ];
    for stripe in stripes {
        for (sum, word) in sums.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *sum = round(*sum, u64::from_le_bytes(*word));
        }
    }
    let turned = [1, 7, 12, 18].iter().zip(&sums);
    let hash = turned.fold(0u64, |h, (turn, sum)| {
        h.wrapping_add(sum.rotate_left(*turn))
    });
    sums.iter().fold(hash, |h, sum| {
        (h ^ round(0, *sum)).wrapping_mul(P[0]).wrapping_add(P[3])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        let rows: &[(&[u8], u64, u64)] = &[
            (b"", 0, 0xef46_db37_51d8_e999),
            (b"a", 0, 0xd24e_c4f1_a98c_6e5b),
            (b"abc", 0, 0x44bc_2cf5_ad77_0999),
        ];
        for (data, seed, expected) in rows {
            assert_eq!(xxh64(data, *seed), *expected, "{data:?}");
        }
    }

    #[test]
    fn every_changed_byte_changes_the_hash() {
        let data: Vec<u8> = (0..111u8).collect();
        let hash = xxh64(&data, 3);
        for at in 0..data.len() {
            let mut changed = data.clone();
            changed[at] ^= 0x10;
            assert_ne!(xxh64(&changed, 3), hash, "{at}");
            assert_ne!(xxh64(&data[..at], 3), hash, "{at}");
        }
    }
}
