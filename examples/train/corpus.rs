//! The text as token ids: tokenizer, split, batches.

use std::path::Path;

use candle_core::{Device, Tensor};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

use super::random::Random;
use super::{Error, files};

/// Id of `<s>`.
pub(crate) const BOS: u32 = 1;
/// Share of the text, at its end, that is never trained on.
const HELD_OUT: f64 = 0.1;

/// The encoded text.
pub(crate) struct Corpus {
    pub(crate) train: Vec<u32>,
    pub(crate) held_out: Vec<u32>,
    /// Bytes of text behind `held_out`.
    pub(crate) held_out_bytes: usize,
    /// Positions in `train` where a speech begins.
    speeches: Vec<usize>,
}

/// Trains a byte-level BPE tokenizer on `text`: `<unk>` 0, `<s>` 1, `</s>` 2, 256 bytes, merges.
pub(crate) fn train_tokenizer(text: &str, vocab: usize) -> Result<Tokenizer, Error> {
    let special = |s: &str| AddedToken::from(s, true);
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocab)
        .special_tokens(["<unk>", "<s>", "</s>"].map(special).to_vec())
        .initial_alphabet(alphabet.into_iter().collect())
        .build();
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(bytes))
        .with_post_processor(Some(bytes))
        .with_decoder(Some(bytes))
        .build()?;
    tokenizer.train(&mut trainer, std::iter::once(text))?;
    let mut tokenizer = Tokenizer::from(tokenizer);
    let template = TemplateProcessing::builder()
        .try_single("<s> $A")?
        .try_pair("<s> $A $B")?
        .special_tokens(vec![("<s>", BOS)])
        .build()?;
    tokenizer.with_post_processor(Some(template));
    Ok(tokenizer)
}

impl Corpus {
    /// Reads and encodes `path`; the held-out part begins at the first speech after 90 %.
    pub(crate) fn read(path: &Path, vocab: usize) -> Result<(Self, Tokenizer), Error> {
        let text = files::read(path)?.replace("\r\n", "\n");
        let aim = (text.len() as f64 * (1.0 - HELD_OUT)) as usize;
        let split = (aim..text.len())
            .find(|&i| text.as_bytes()[..i].ends_with(b"\n\n"))
            .ok_or("expected speeches parted by blank lines in the text")?;
        let (before, after) = text.split_at(split);
        let tokenizer = train_tokenizer(before, vocab)?;
        let ids = |text: &str| tokenizer.encode(text, false).map(|e| e.get_ids().to_vec());
        let mut train = Vec::new();
        let mut speeches = Vec::new();
        for speech in before.split_inclusive("\n\n") {
            speeches.push(train.len());
            train.extend(ids(speech)?);
        }
        let mut held_out = Vec::new();
        for speech in after.split_inclusive("\n\n") {
            held_out.extend(ids(speech)?);
        }
        Ok((
            Self {
                train,
                held_out,
                held_out_bytes: after.len(),
                speeches,
            },
            tokenizer,
        ))
    }

    /// Inputs and targets `[batch, seq]`: every row is `<s>` and a piece of the text, half of the
    /// pieces from the start of a speech.
    pub(crate) fn batch(
        &self,
        batch: usize,
        seq: usize,
        random: &mut Random,
    ) -> Result<Batch, Error> {
        let last = self
            .train
            .len()
            .checked_sub(seq + 1)
            .ok_or("the text is too short")?;
        let rows = (0..batch).map(|_| {
            let start = match random.below(2) {
                0 => self.speeches[random.below(self.speeches.len())].min(last),
                _ => random.below(last + 1),
            };
            &self.train[start..start + seq]
        });
        Batch::new(rows.collect(), seq)
    }

    /// The held-out text in consecutive rows, `batch` at a time; a remainder below `seq` is left.
    pub(crate) fn held_out_batches(&self, batch: usize, seq: usize) -> Result<Vec<Batch>, Error> {
        let rows: Vec<&[u32]> = self.held_out.chunks_exact(seq).collect();
        rows.chunks(batch)
            .map(|rows| Batch::new(rows.to_vec(), seq))
            .collect()
    }
}

/// Inputs and targets.
pub(crate) struct Batch {
    /// `[rows, seq]`.
    pub(crate) inputs: Tensor,
    /// `[rows · seq]`.
    pub(crate) targets: Tensor,
}

impl Batch {
    fn new(rows: Vec<&[u32]>, seq: usize) -> Result<Self, Error> {
        let inputs: Vec<u32> = rows
            .iter()
            .flat_map(|row| std::iter::once(BOS).chain(row[..seq - 1].iter().copied()))
            .collect();
        let targets = rows.concat();
        Ok(Self {
            inputs: Tensor::from_vec(inputs, (rows.len(), seq), &Device::Cpu)?,
            targets: Tensor::from_vec(targets, rows.len() * seq, &Device::Cpu)?,
        })
    }
}
