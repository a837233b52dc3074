//! Storage types that widen to f32 as they are loaded.

use half::{bf16, f16};

use super::Simd;

/// A stored number.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// # Safety
    /// `p` is valid for reading `LANES` elements, at any alignment of the vector.
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F;
    fn widen(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F {
        // SAFETY: the caller's promise is the same.
        unsafe { s.load(p) }
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Element for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F {
        // SAFETY: the caller's promise is the same.
        unsafe { s.load_f16(p) }
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
}

impl Element for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F {
        // SAFETY: the caller's promise is the same.
        unsafe { s.load_bf16(p) }
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
}

impl Element for i8 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F {
        // SAFETY: the caller's promise is the same.
        unsafe { s.load_i8(p) }
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self.into()
    }
}
