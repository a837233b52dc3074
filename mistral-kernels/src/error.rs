//! What an operation refuses.

use mistral_core::precision::Format;
use mistral_core::schedule::BadSchedule;

use crate::attention::CacheType;
use crate::cpu::Isa;

/// Why an operation did nothing.
///
/// Shapes are checked before anything is written: after an error the outputs hold what they held,
/// except where a variant says otherwise.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A buffer's length doesn't follow from the other shapes.
    #[error("{op}: {buffer} has {found} elements, expected {expected}")]
    Length {
        /// Operation that was called.
        op: &'static str,
        /// Name of the parameter.
        buffer: &'static str,
        /// Elements that the other shapes ask for.
        expected: usize,
        /// Elements that were given.
        found: usize,
    },
    /// A buffer isn't a whole number of rows.
    #[error("{op}: {buffer} has {found} elements, expected a multiple of {row}")]
    Rows {
        /// Operation that was called.
        op: &'static str,
        /// Name of the parameter.
        buffer: &'static str,
        /// Length of a row.
        row: usize,
        /// Elements that were given.
        found: usize,
    },
    /// A count or width that the operation can't work with.
    #[error("{op}: {parameter} is {found}, expected {expected}")]
    Parameter {
        /// Operation that was called.
        op: &'static str,
        /// Name of the parameter.
        parameter: &'static str,
        /// Value that was given.
        found: usize,
        /// What is allowed, in words.
        expected: &'static str,
    },
    /// A schedule that kernels can't follow.
    #[error(transparent)]
    Schedule(#[from] BadSchedule),
    /// The scratch handed in was made for smaller shapes.
    #[error("{op}: scratch holds {capacity} {what}, expected at least {needed}")]
    Scratch {
        /// Operation that was called.
        op: &'static str,
        /// What ran out.
        what: &'static str,
        /// What this call needs.
        needed: usize,
        /// What the scratch was made for.
        capacity: usize,
    },
    /// The cache no longer holds (or never held) positions that a query attends to.
    #[error(
        "{op}: positions {oldest} to {newest} are needed, expected at most {capacity} (the cache's capacity)"
    )]
    CacheCapacity {
        /// Operation that was called.
        op: &'static str,
        /// First position that some query sees.
        oldest: usize,
        /// Position of the last query.
        newest: usize,
        /// Positions that the cache holds.
        capacity: usize,
    },
    /// Keys and values of one cache are stored differently.
    #[error("cache: values are {v:?}, expected {k:?} like the keys")]
    CacheTypes {
        /// Type of the keys.
        k: CacheType,
        /// Type of the values.
        v: CacheType,
    },
    /// A cache's type that the operation doesn't read.
    #[error("{op}: the cache is {found:?}, expected floats")]
    CacheType {
        /// Operation that was called.
        op: &'static str,
        /// Type that was given.
        found: CacheType,
    },
    /// A factor on scores that isn't a positive number.
    #[error("{op}: scale is {found}, expected a positive finite number")]
    Scale {
        /// Operation that was called.
        op: &'static str,
        /// Value that was given.
        found: f32,
    },
    /// A selected position lies outside what its query may see, or out of order.
    #[error(
        "{op}: query {query} selects position {found}, expected ascending positions in {first}..={last}"
    )]
    SelectedPosition {
        /// Operation that was called.
        op: &'static str,
        /// Index of the query.
        query: usize,
        /// The position.
        found: usize,
        /// First position that is allowed here.
        first: usize,
        /// Last position that is allowed here.
        last: usize,
    },
    /// A router's logit is NaN or infinite: the weights or the activations are broken.
    #[error(
        "router: logit of token {token} for expert {expert} is {value}, expected a finite number"
    )]
    NonFiniteRouterLogit {
        /// Row of the logits.
        token: usize,
        /// Column of the logits.
        expert: usize,
        /// What was found.
        value: f32,
    },
    /// A router's bias is NaN or infinite: there is no order of experts then.
    #[error("router: bias of expert {expert} is {value}, expected a finite number")]
    NonFiniteRouterBias {
        /// Index into the bias.
        expert: usize,
        /// What was found.
        value: f32,
    },
    /// A routing names an expert that isn't there.
    #[error("experts: token {token} is routed to expert {found}, expected less than {experts}")]
    UnknownExpert {
        /// Row of the routing.
        token: usize,
        /// Expert that was named.
        found: usize,
        /// Experts that were given.
        experts: usize,
    },
    /// A logit that can't be sampled from: NaN or +∞.
    #[error("sample: logit of token id {id} is {value}, expected a number below infinity")]
    NonFiniteLogit {
        /// Token id.
        id: usize,
        /// What was found.
        value: f32,
    },
    /// Every logit is -∞.
    #[error("sample: no token id is left to choose from among {vocab_size}, expected at least one")]
    NoCandidate {
        /// Number of logits.
        vocab_size: usize,
    },
    /// A sampling setting outside its range.
    #[error("sample: {parameter} is {found}, expected {expected}")]
    SamplingParameter {
        /// Name of the setting.
        parameter: &'static str,
        /// Value that was given.
        found: f64,
        /// What is allowed, in words.
        expected: &'static str,
    },
    /// A storage format that isn't in blocks, or whose blocks no kernel reads.
    #[error(
        "blocks: format {} isn't supported, expected one of BLOCK_FORMATS",
        found.name()
    )]
    BlockFormat {
        /// Format that was named.
        found: Format,
    },
    /// Weights in blocks where only floats are read.
    #[error("{op}: weights are {}, expected f32, f16 or bf16", found.name())]
    FloatsExpected {
        /// Operation that was called.
        op: &'static str,
        /// How the weights are stored.
        found: Format,
    },
    /// A weight that is NaN or infinite has no place in a block.
    #[error("quantize: weight {index} is {value}, expected a finite number")]
    NonFiniteWeight {
        /// Index into the weights.
        index: usize,
        /// What was found.
        value: f32,
    },
    /// A weight so large that its block's scale is beyond f16.
    #[error(
        "quantize: weight {index} is {value}, too large for the f16 scale of {}",
        format.name()
    )]
    WeightRange {
        /// The format asked for.
        format: Format,
        /// Index into the weights.
        index: usize,
        /// What was found.
        value: f32,
    },
    /// Rows of a weight that don't end with a block.
    #[error("matrix: rows of {cols} weights, expected a multiple of {block} ({})", format.name())]
    BlockRow {
        /// How the weights are stored.
        format: Format,
        /// Weights in a row.
        cols: usize,
        /// Weights in a block.
        block: usize,
    },
    /// The processor lacks an instruction set that was asked for by name.
    #[error("instruction set {isa} needs processor feature {missing}, which was not found")]
    IsaUnavailable {
        /// The set.
        isa: Isa,
        /// First feature that is missing.
        missing: &'static str,
    },
}

/// Checks a buffer's length.
pub(crate) fn check_len(
    op: &'static str,
    buffer: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), KernelError> {
    if found == expected {
        Ok(())
    } else {
        Err(KernelError::Length {
            op,
            buffer,
            expected,
            found,
        })
    }
}

/// Checks that a buffer is a whole number of rows and returns how many.
pub(crate) fn check_rows(
    op: &'static str,
    buffer: &'static str,
    found: usize,
    row: usize,
) -> Result<usize, KernelError> {
    if row == 0 || !found.is_multiple_of(row) {
        Err(KernelError::Rows {
            op,
            buffer,
            row,
            found,
        })
    } else {
        Ok(found / row)
    }
}

/// Checks what a scratch was made for: rows of what, how much is needed, and how much it holds.
pub(crate) fn check_room(
    op: &'static str,
    rows: &[(&'static str, usize, usize)],
) -> Result<(), KernelError> {
    match rows.iter().find(|(_, needed, held)| needed > held) {
        None => Ok(()),
        Some(&(what, needed, capacity)) => Err(KernelError::Scratch {
            op,
            what,
            needed,
            capacity,
        }),
    }
}

/// The position behind the last of `count` from `first` on, refusing what doesn't fit a `usize`.
pub(crate) fn checked_end(
    op: &'static str,
    first: usize,
    count: usize,
) -> Result<usize, KernelError> {
    first.checked_add(count).ok_or(KernelError::Parameter {
        op,
        parameter: "first_position",
        found: first,
        expected: "positions that fit the address space",
    })
}

/// Multiplies dimensions, refusing what doesn't fit a `usize`.
pub(crate) fn checked_product(
    op: &'static str,
    parameter: &'static str,
    factors: &[usize],
) -> Result<usize, KernelError> {
    factors
        .iter()
        .try_fold(1usize, |a, &b| a.checked_mul(b))
        .ok_or(KernelError::Parameter {
            op,
            parameter,
            found: usize::MAX,
            expected: "dimensions whose product fits the address space",
        })
}
