//! Writes GGUF files, well-formed or broken on purpose, from values alone.

#![allow(dead_code, reason = "each test file uses its part")]

/// Type numbers of metadata values.
pub(crate) const U8: u32 = 0;
pub(crate) const U32: u32 = 4;
pub(crate) const I32: u32 = 5;
pub(crate) const F32: u32 = 6;
pub(crate) const BOOL: u32 = 7;
pub(crate) const TEXT: u32 = 8;
pub(crate) const ARRAY: u32 = 9;
pub(crate) const U64: u32 = 10;

/// Storage types of tensors.
pub(crate) const GGML_F32: u32 = 0;
pub(crate) const GGML_F16: u32 = 1;
pub(crate) const GGML_Q8_0: u32 = 8;

/// A text with its length in front.
pub(crate) fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

/// A file's start: letters, version 3, counts.
pub(crate) fn start(tensors: u64, entries: u64) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(tensors.to_le_bytes());
    out.extend(entries.to_le_bytes());
    out
}

/// A metadata entry.
pub(crate) fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), value].concat()
}

/// The content of an array value.
pub(crate) fn array(kind: u32, len: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &len.to_le_bytes(), elements].concat()
}

/// An entry of the tensor list; `dimensions` with the row length first, as files have them.
pub(crate) fn tensor_entry(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut out = text(name);
    out.extend((dimensions.len() as u32).to_le_bytes());
    for d in dimensions {
        out.extend(d.to_le_bytes());
    }
    out.extend(kind.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out
}

/// Little-endian bytes of floats.
pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Collects a well-formed file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writer {
    entries: Vec<(String, Vec<u8>)>,
    /// Name, shape with the row length last, storage type, data.
    pub(crate) tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

impl Writer {
    pub(crate) fn put(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Writer {
        self.entries.retain(|(k, _)| k != key);
        self.entries.push((key.to_owned(), entry(key, kind, value)));
        self
    }

    pub(crate) fn remove(&mut self, key: &str) -> &mut Writer {
        self.entries.retain(|(k, _)| k != key);
        self
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Writer {
        self.put(key, TEXT, &text(value))
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) -> &mut Writer {
        self.put(key, U32, &value.to_le_bytes())
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) -> &mut Writer {
        self.put(key, F32, &value.to_le_bytes())
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) -> &mut Writer {
        self.put(key, BOOL, &[u8::from(value)])
    }

    pub(crate) fn texts<T: AsRef<str>>(&mut self, key: &str, values: &[T]) -> &mut Writer {
        let elements: Vec<u8> = values.iter().flat_map(|v| text(v.as_ref())).collect();
        self.put(key, ARRAY, &array(TEXT, values.len() as u64, &elements))
    }

    pub(crate) fn f32s(&mut self, key: &str, values: &[f32]) -> &mut Writer {
        self.put(
            key,
            ARRAY,
            &array(F32, values.len() as u64, &floats(values)),
        )
    }

    pub(crate) fn i32s(&mut self, key: &str, values: &[i32]) -> &mut Writer {
        let elements: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.put(key, ARRAY, &array(I32, values.len() as u64, &elements))
    }

    /// A tensor; `shape` with the row length last.
    pub(crate) fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        kind: u32,
        data: Vec<u8>,
    ) -> &mut Writer {
        self.tensors.retain(|(n, ..)| n != name);
        self.tensors
            .push((name.to_owned(), shape.to_vec(), kind, data));
        self
    }

    pub(crate) fn remove_tensor(&mut self, name: &str) -> &mut Writer {
        self.tensors.retain(|(n, ..)| n != name);
        self
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        const ALIGNMENT: usize = 32;
        let mut out = start(self.tensors.len() as u64, self.entries.len() as u64);
        for (_, bytes) in &self.entries {
            out.extend_from_slice(bytes);
        }
        let mut data = Vec::new();
        for (name, shape, kind, bytes) in &self.tensors {
            let dimensions: Vec<u64> = shape.iter().rev().map(|d| *d as u64).collect();
            out.extend(tensor_entry(name, &dimensions, *kind, data.len() as u64));
            data.extend_from_slice(bytes);
            data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out.extend(data);
        out
    }
}

/// Numbers that repeat for the same seed, in ±0.5.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

/// Sizes of the tiny model that [`tiny`] writes.
pub(crate) const DIM: usize = 8;
pub(crate) const HIDDEN: usize = 16;
pub(crate) const VOCAB: usize = 6;
pub(crate) const LAYERS: usize = 2;

/// A dense model of two layers in f32, without a tokenizer.
pub(crate) fn tiny() -> Writer {
    tiny_of(DIM)
}

/// The same with another width.
pub(crate) fn tiny_of(dim: usize) -> Writer {
    let mut w = Writer::default();
    w.text("general.architecture", "llama")
        .u32("llama.block_count", LAYERS as u32)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", dim as u32)
        .u32("llama.feed_forward_length", HIDDEN as u32)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 1)
        .u32("llama.rope.dimension_count", dim as u32 / 2)
        .u32("llama.vocab_size", VOCAB as u32)
        .f32("llama.rope.freq_base", 1e4)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    let mut seed = 0;
    let mut float = |w: &mut Writer, name: &str, shape: &[usize]| {
        seed += 1;
        let values = noise(shape.iter().product(), seed);
        w.tensor(name, shape, GGML_F32, floats(&values));
    };
    float(&mut w, "token_embd.weight", &[VOCAB, dim]);
    float(&mut w, "output_norm.weight", &[dim]);
    float(&mut w, "output.weight", &[VOCAB, dim]);
    for i in 0..LAYERS {
        let name = |n: &str| format!("blk.{i}.{n}.weight");
        float(&mut w, &name("attn_norm"), &[dim]);
        float(&mut w, &name("attn_q"), &[dim, dim]);
        float(&mut w, &name("attn_k"), &[dim / 2, dim]);
        float(&mut w, &name("attn_v"), &[dim / 2, dim]);
        float(&mut w, &name("attn_output"), &[dim, dim]);
        float(&mut w, &name("ffn_norm"), &[dim]);
        float(&mut w, &name("ffn_gate"), &[HIDDEN, dim]);
        float(&mut w, &name("ffn_up"), &[HIDDEN, dim]);
        float(&mut w, &name("ffn_down"), &[dim, HIDDEN]);
    }
    w
}
