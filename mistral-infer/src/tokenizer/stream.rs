//! Tokens to text, one by one. Decoding a whole sequence is the same machine run to its end.

use super::error::TokenizerError;
use super::hf::{Hf, HfDecoder};
use super::sentencepiece::{SPACE, SentencePiece};
use super::tekken::Tekken;
use super::{ControlTokens, Kind, Tokenizer};

/// Turns tokens into text as they are generated.
///
/// Text comes out as soon as it cannot change any more: never half a character, and the pieces
/// joined are what [`Tokenizer::decode`] gives for all tokens.
///
/// ```
/// # fn demo(tokenizer: &mistral_infer::tokenizer::Tokenizer, tokens: &[u32])
/// # -> Result<(), mistral_infer::tokenizer::TokenizerError> {
/// let mut stream = tokenizer.decode_stream();
/// for &token in tokens {
///     print!("{}", stream.push(token)?);
/// }
/// print!("{}", stream.finish());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DecodeStream<'t> {
    tokenizer: &'t Tokenizer,
    state: State,
    text: String,
}

impl<'t> DecodeStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, control: ControlTokens) -> Self {
        Self {
            tokenizer,
            state: State::new(control),
            text: String::new(),
        }
    }

    /// The text that the token completes, which may be empty.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownId`] for an id outside the vocabulary; the stream goes on as if the
    /// id had not come.
    pub fn push(&mut self, id: u32) -> Result<&str, TokenizerError> {
        self.text.clear();
        self.state.push(self.tokenizer, id, &mut self.text)?;
        Ok(&self.text)
    }

    /// The rest: a character that was never completed is U+FFFD.
    pub fn finish(mut self) -> String {
        self.text.clear();
        self.state.finish(self.tokenizer, &mut self.text);
        self.text
    }
}

/// What is left over between two tokens.
#[derive(Debug, Clone)]
pub(super) struct State {
    control: ControlTokens,
    /// Bytes that are not yet a whole character, or not yet known to be valid.
    pending: Vec<u8>,
    /// Whether a leading space may still be dropped.
    at_start: bool,
    /// Spaces that were dropped from the start so far.
    stripped: usize,
}

impl State {
    pub(super) fn new(control: ControlTokens) -> Self {
        Self {
            control,
            pending: Vec::new(),
            at_start: true,
            stripped: 0,
        }
    }

    pub(super) fn push(
        &mut self,
        tokenizer: &Tokenizer,
        id: u32,
        out: &mut String,
    ) -> Result<(), TokenizerError> {
        let found = match &tokenizer.kind {
            Kind::Tekken(tekken) => self.push_tekken(tekken, id, out),
            Kind::SentencePiece(model) => self.push_sentencepiece(model, id, out),
            Kind::Hf(hf) => self.push_hf(hf, id, out),
        };
        found.ok_or(TokenizerError::UnknownId {
            id,
            vocab_size: tokenizer.vocab_size(),
        })
    }

    pub(super) fn finish(&mut self, tokenizer: &Tokenizer, out: &mut String) {
        match &tokenizer.kind {
            Kind::SentencePiece(_) => self.flush_single(out),
            Kind::Hf(hf) if !hf.byte_level => self.flush_run(out),
            Kind::Tekken(_) | Kind::Hf(_) => self.flush_utf8(out),
        }
    }

    fn push_tekken(&mut self, tekken: &Tekken, id: u32, out: &mut String) -> Option<()> {
        if let Some(name) = tekken.control(id) {
            // A control token ends a character as the end of the text does.
            self.flush_utf8(out);
            if self.control == ControlTokens::Keep {
                out.push_str(name);
            }
            return Some(());
        }
        self.pending.extend_from_slice(tekken.bytes(id)?);
        self.emit_utf8(out);
        Some(())
    }

    fn push_sentencepiece(
        &mut self,
        model: &SentencePiece,
        id: u32,
        out: &mut String,
    ) -> Option<()> {
        if self.control == ControlTokens::Keep {
            out.push_str(model.piece(id)?);
            return Some(());
        }
        let mut text = model.surface(id)?;
        if let Some(byte) = model.byte(id) {
            self.pending.push(byte);
            self.at_start = false;
            self.emit_single(out);
            return Some(());
        }
        self.flush_single(out);
        if model.is_control(id) {
            return Some(());
        }
        if id == model.unk() {
            self.at_start = false;
            out.push_str(&model.settings().unk_surface);
            return Some(());
        }
        if self.at_start && model.settings().strips_first_space() {
            let rest = model.piece(id)?.strip_prefix(SPACE);
            // Where extra spaces are removed, all in front of the text go, else the first.
            let all = model.settings().remove_extra_whitespaces;
            self.at_start = all && rest.is_some_and(str::is_empty);
            text = if rest.is_some() { &text[1..] } else { text };
        }
        out.push_str(text);
        Some(())
    }

    fn push_hf(&mut self, hf: &Hf, id: u32, out: &mut String) -> Option<()> {
        let piece = hf.piece(id)?;
        if hf.is_control(id) && self.control == ControlTokens::Skip {
            return Some(());
        }
        match &hf.decoder {
            HfDecoder::ByteLevel => {
                hf.push_byte_level(&piece, &mut self.pending);
                self.emit_utf8(out);
            }
            HfDecoder::Text {
                replace,
                byte_fallback,
                strip,
                strip_first_token,
            } => {
                if *byte_fallback && let Some(byte) = fallback_byte(&piece) {
                    self.pending.push(byte);
                    return Some(());
                }
                let start = out.len();
                self.flush_run(out);
                let mut text = piece;
                for (from, to) in replace {
                    text = text.replace(from, to);
                }
                if *strip_first_token && std::mem::take(&mut self.at_start) {
                    text = text.trim_start_matches(' ').to_owned();
                }
                out.push_str(&text);
                self.strip(start, *strip, out);
            }
        }
        Some(())
    }

    /// Drops spaces that stand at the start of the whole text, up to `limit` of them.
    fn strip(&mut self, start: usize, limit: usize, out: &mut String) {
        while self.stripped < limit && out[start..].starts_with(' ') {
            out.remove(start);
            self.stripped += 1;
        }
        if out.len() > start {
            // The next character is no longer at the start.
            self.stripped = limit;
        }
    }

    /// Whole characters of the pending bytes; what can never become valid is U+FFFD, once for each
    /// maximal part (as `String::from_utf8_lossy` does).
    fn emit_utf8(&mut self, out: &mut String) {
        let mut done = 0;
        loop {
            match std::str::from_utf8(&self.pending[done..]) {
                Ok(text) => {
                    out.push_str(text);
                    done = self.pending.len();
                    break;
                }
                Err(error) => {
                    let valid = &self.pending[done..done + error.valid_up_to()];
                    out.push_str(std::str::from_utf8(valid).expect("valid up to there"));
                    done += error.valid_up_to();
                    let Some(bad) = error.error_len() else { break };
                    out.push(char::REPLACEMENT_CHARACTER);
                    done += bad;
                }
            }
        }
        self.pending.drain(..done);
    }

    fn flush_utf8(&mut self, out: &mut String) {
        if !self.pending.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
    }

    /// Whole characters of the pending bytes; each byte that can never be part of one is U+FFFD of
    /// its own (as SentencePiece does).
    fn emit_single(&mut self, out: &mut String) {
        while !self.pending.is_empty() {
            match std::str::from_utf8(&self.pending) {
                Ok(text) => {
                    out.push_str(text);
                    self.pending.clear();
                }
                Err(error) if error.valid_up_to() > 0 => {
                    let valid = &self.pending[..error.valid_up_to()];
                    out.push_str(std::str::from_utf8(valid).expect("valid up to there"));
                    self.pending.drain(..error.valid_up_to());
                }
                Err(error) => {
                    if error.error_len().is_none() {
                        return;
                    }
                    out.push(char::REPLACEMENT_CHARACTER);
                    self.pending.remove(0);
                }
            }
        }
    }

    fn flush_single(&mut self, out: &mut String) {
        // What is pending is the start of one character: none of its bytes is valid alone.
        for _ in self.pending.drain(..) {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// A run of byte tokens: text when the whole run is valid, else one U+FFFD for each byte (as
    /// the `tokenizers` crate does).
    fn flush_run(&mut self, out: &mut String) {
        if self.pending.is_empty() {
            return;
        }
        self.at_start = false;
        match std::str::from_utf8(&self.pending) {
            Ok(text) => out.push_str(text),
            Err(_) => {
                out.extend(std::iter::repeat_n(
                    char::REPLACEMENT_CHARACTER,
                    self.pending.len(),
                ));
            }
        }
        self.pending.clear();
    }
}

/// The bytes of an id of a `tokenizer.json`, as decoding has them in the middle of a text.
pub(super) fn hf_bytes(hf: &Hf, id: u32) -> Option<Vec<u8>> {
    let mut piece = hf.piece(id)?;
    match &hf.decoder {
        HfDecoder::ByteLevel => {
            let mut bytes = Vec::new();
            hf.push_byte_level(&piece, &mut bytes);
            Some(bytes)
        }
        HfDecoder::Text {
            replace,
            byte_fallback,
            ..
        } => {
            if *byte_fallback && let Some(byte) = fallback_byte(&piece) {
                return Some(vec![byte]);
            }
            for (from, to) in replace {
                piece = piece.replace(from, to);
            }
            Some(piece.into_bytes())
        }
    }
}

fn fallback_byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}
