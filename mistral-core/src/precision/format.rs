//! The storage formats of one tensor.

use serde::{Deserialize, Serialize};

/// A run of values that are stored together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Values in a block.
    pub items: usize,
    /// Bytes of a block, scales included.
    pub bytes: usize,
}

macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $items:literal, $bytes:literal, $ggml:expr;)*) => {
        /// The storage of one tensor.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Format {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Format {
            /// Every format, in the order of the table.
            pub const ALL: &'static [Format] = &[$(Format::$variant,)*];

            /// The name, in lower case; GGUF types keep ggml's spelling otherwise.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Format::$variant => $name,)* }
            }

            /// Items and bytes of a block.
            #[must_use]
            pub fn block(self) -> Block {
                match self { $(Format::$variant => Block { items: $items, bytes: $bytes },)* }
            }

            /// The type's number in a GGUF file (`enum ggml_type`), if it has one.
            #[must_use]
            pub fn ggml_id(self) -> Option<u32> {
                match self { $(Format::$variant => $ggml,)* }
            }
        }
    };
}

formats! {
    /// IEEE 754 single precision.
    F32 = "f32", 1, 4, Some(0);
    /// IEEE 754 half precision.
    F16 = "f16", 1, 2, Some(1);
    /// The upper half of an `f32`.
    Bf16 = "bf16", 1, 2, Some(30);
    /// 8-bit float with 4 exponent bits; scales are per tensor or per channel and not counted.
    F8E4M3 = "f8_e4m3", 1, 1, None;
    /// 8-bit float with 5 exponent bits; scales are per tensor or per channel and not counted.
    F8E5M2 = "f8_e5m2", 1, 1, None;
    /// 8-bit integers with a scale per row, which is not counted.
    Int8 = "int8", 1, 1, None;
    /// 4-bit integers in groups of 128 with an f16 scale and a 4-bit zero point: what AWQ and GPTQ
    /// write with `group_size` 128.
    Int4Group128 = "int4_g128", 256, 133, None;
    /// 4-bit integers in groups of 64 with an f16 scale and an f16 bias: MLX's default.
    Int4Group64 = "int4_g64", 64, 36, None;
    /// OCP microscaling 4-bit float: 32 values of E2M1 and one E8M0 scale.
    Mxfp4 = "mxfp4", 32, 17, Some(39);
    /// NVIDIA's 4-bit float: 16 values of E2M1 and one E4M3 scale (GGUF stores four together).
    Nvfp4 = "nvfp4", 64, 36, Some(40);
    /// 4 bits, f16 scale.
    Q4_0 = "q4_0", 32, 18, Some(2);
    /// 4 bits, f16 scale and minimum.
    Q4_1 = "q4_1", 32, 20, Some(3);
    /// 5 bits, f16 scale.
    Q5_0 = "q5_0", 32, 22, Some(6);
    /// 5 bits, f16 scale and minimum.
    Q5_1 = "q5_1", 32, 24, Some(7);
    /// 8 bits, f16 scale.
    Q8_0 = "q8_0", 32, 34, Some(8);
    /// 8 bits, f16 scale and sum: activations only.
    Q8_1 = "q8_1", 32, 36, Some(9);
    /// 2-bit super-block.
    Q2K = "q2_k", 256, 84, Some(10);
    /// 3-bit super-block.
    Q3K = "q3_k", 256, 110, Some(11);
    /// 4-bit super-block.
    Q4K = "q4_k", 256, 144, Some(12);
    /// 5-bit super-block.
    Q5K = "q5_k", 256, 176, Some(13);
    /// 6-bit super-block.
    Q6K = "q6_k", 256, 210, Some(14);
    /// 8-bit super-block: activations only.
    Q8K = "q8_k", 256, 292, Some(15);
    /// Lattice codes, 2.06 bits.
    Iq2Xxs = "iq2_xxs", 256, 66, Some(16);
    /// Lattice codes, 2.31 bits.
    Iq2Xs = "iq2_xs", 256, 74, Some(17);
    /// Lattice codes, 3.06 bits.
    Iq3Xxs = "iq3_xxs", 256, 98, Some(18);
    /// Lattice codes, 1.56 bits.
    Iq1S = "iq1_s", 256, 50, Some(19);
    /// A table of 16 values, 4.5 bits.
    Iq4Nl = "iq4_nl", 32, 18, Some(20);
    /// Lattice codes, 3.44 bits.
    Iq3S = "iq3_s", 256, 110, Some(21);
    /// Lattice codes, 2.56 bits.
    Iq2S = "iq2_s", 256, 82, Some(22);
    /// A table of 16 values in super-blocks, 4.25 bits.
    Iq4Xs = "iq4_xs", 256, 136, Some(23);
    /// Lattice codes, 1.75 bits.
    Iq1M = "iq1_m", 256, 56, Some(29);
    /// Ternary, packed five to a byte.
    Tq1_0 = "tq1_0", 256, 54, Some(34);
    /// Ternary, packed four to a byte.
    Tq2_0 = "tq2_0", 256, 66, Some(35);
}

impl Format {
    /// Bits a value, scales included.
    #[must_use]
    pub fn bits_per_weight(self) -> f64 {
        let b = self.block();
        b.bytes as f64 * 8.0 / b.items as f64
    }

    /// The format of this name, whatever the case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|f| f.name().eq_ignore_ascii_case(name))
    }

    /// The format of a GGUF type number.
    #[must_use]
    pub fn from_ggml_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|f| f.ggml_id() == Some(id))
    }

    /// Bytes of `items` values stored in whole blocks; `None` when that overflows or when
    /// `items` isn't a multiple of the block.
    #[must_use]
    pub fn bytes(self, items: usize) -> Option<usize> {
        let b = self.block();
        if !items.is_multiple_of(b.items) {
            return None;
        }
        (items / b.items).checked_mul(b.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    /// `ggml-common.h` and `gguf-py` 0.19.0 `GGML_QUANT_SIZES`: (id, items, bytes).
    const GGML: &[(u32, usize, usize)] = &[
        (0, 1, 4),
        (1, 1, 2),
        (2, 32, 18),
        (3, 32, 20),
        (6, 32, 22),
        (7, 32, 24),
        (8, 32, 34),
        (9, 32, 36),
        (10, 256, 84),
        (11, 256, 110),
        (12, 256, 144),
        (13, 256, 176),
        (14, 256, 210),
        (15, 256, 292),
        (16, 256, 66),
        (17, 256, 74),
        (18, 256, 98),
        (19, 256, 50),
        (20, 32, 18),
        (21, 256, 110),
        (22, 256, 82),
        (23, 256, 136),
        (29, 256, 56),
        (30, 1, 2),
        (34, 256, 54),
        (35, 256, 66),
        (39, 32, 17),
        (40, 64, 36),
    ];

    #[test]
    fn blocks_are_ggmls() {
        for &(id, items, bytes) in GGML {
            let f = Format::from_ggml_id(id).unwrap_or_else(|| panic!("no format for type {id}"));
            assert_eq!(
                (f.block().items, f.block().bytes),
                (items, bytes),
                "{}",
                f.name()
            );
        }
        assert_eq!(
            Format::ALL.iter().filter(|f| f.ggml_id().is_some()).count(),
            GGML.len(),
            "each GGUF type stands in the table of facts"
        );
    }

    #[test]
    fn blocks_are_those_of_the_fixtures() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../shared/fixtures/gguf/gguf_quants.json"
        );
        let Ok(text) = std::fs::read_to_string(path) else {
            return;
        };
        let json: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        let types = json["types"].as_array().expect("a list of types");
        assert!(types.len() >= 20);
        for t in types {
            let name = t["type"].as_str().expect("a name");
            let f = Format::from_name(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(
                f.block().items as u64,
                t["block_elems"].as_u64().expect("items"),
                "{name}"
            );
            assert_eq!(
                f.block().bytes as u64,
                t["block_bytes"].as_u64().expect("bytes"),
                "{name}"
            );
            assert_eq!(f.ggml_id().map(u64::from), t["ggml_id"].as_u64(), "{name}");
        }
    }

    #[test]
    fn names_round_trip_and_sizes_are_checked() {
        for &f in Format::ALL {
            assert_eq!(Format::from_name(&f.name().to_uppercase()), Some(f));
            let json = serde_json::to_string(&f).expect("serialises");
            assert_eq!(serde_json::from_str::<Format>(&json).expect("parses"), f);
        }
        assert_eq!(Format::Q4K.bytes(512), Some(288));
        assert_eq!(Format::Q4K.bytes(300), None);
        assert_eq!(Format::F32.bytes(usize::MAX), None);
        assert!((Format::Int4Group128.bits_per_weight() - 4.156_25).abs() < 1e-12);
    }
}
