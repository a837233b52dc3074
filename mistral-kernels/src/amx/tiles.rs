//! The instructions. `std::arch` has them on nightly only, so they are written in assembly.

#![expect(unsafe_code, reason = "instructions in assembly")]

use std::arch::asm;

/// What `ldtilecfg` reads: eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The tiles of this thread, configured; released when dropped.
pub(crate) struct Tiles(());

impl Tiles {
    /// # Safety
    /// The processor has AMX-TILE and AMX-BF16, and the system lets this process use them.
    pub(crate) unsafe fn configure() -> Self {
        // SAFETY: by this function's contract; the compiler itself never uses tiles.
        unsafe {
            asm!("ldtilecfg [{0}]", in(reg) &raw const CONFIG, options(nostack, readonly, preserves_flags));
        }
        Self(())
    }

    /// `c (+)= a · b` for two tiles of rows and two of tokens, over `steps` tiles of the inner
    /// dimension. Rows of `a` lie `stride` bytes apart, tiles of `b` one behind the other; `c` is
    /// `[2 of a][2 of b]` tiles of sums.
    ///
    /// # Safety
    /// Each pointer is valid for the tiles that this names.
    #[inline(always)]
    pub(crate) unsafe fn multiply(
        &self,
        add: bool,
        steps: usize,
        (a, stride): ([*const f32; 2], usize),
        b: [*const f32; 2],
        c: *mut f32,
    ) {
        // SAFETY: by this function's contract; `self` proves that the tiles are configured.
        unsafe {
            asm!(
                "test {add}, {add}",
                "jz 3f",
                "tileloadd tmm0, [{c} + {row}]",
                "tileloadd tmm1, [{c} + {row} + 1024]",
                "tileloadd tmm2, [{c} + {row} + 2048]",
                "tileloadd tmm3, [{c} + {row} + 3072]",
                "jmp 2f",
                "3:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{a0} + {stride}]",
                "tileloadd tmm6, [{b0} + {row}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b1} + {row}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a1} + {stride}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 64",
                "add {a1}, 64",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{c} + {row}], tmm0",
                "tilestored [{c} + {row} + 1024], tmm1",
                "tilestored [{c} + {row} + 2048], tmm2",
                "tilestored [{c} + {row} + 3072], tmm3",
                add = in(reg) usize::from(add),
                c = in(reg) c,
                row = in(reg) 64usize,
                stride = in(reg) stride,
                a0 = inout(reg) a[0] => _,
                a1 = inout(reg) a[1] => _,
                b0 = inout(reg) b[0] => _,
                b1 = inout(reg) b[1] => _,
                steps = inout(reg) steps => _,
                options(nostack),
            );
        }
    }

    /// [`Tiles::multiply`] for one tile of tokens; `c` is still laid out for two.
    ///
    /// # Safety
    /// As [`Tiles::multiply`].
    #[inline(always)]
    pub(super) unsafe fn multiply_narrow(
        &self,
        add: bool,
        steps: usize,
        (a, stride): ([*const f32; 2], usize),
        b: *const f32,
        c: *mut f32,
    ) {
        // SAFETY: as in `multiply`.
        unsafe {
            asm!(
                "test {add}, {add}",
                "jz 3f",
                "tileloadd tmm0, [{c} + {row}]",
                "tileloadd tmm2, [{c} + {row} + 2048]",
                "jmp 2f",
                "3:",
                "tilezero tmm0",
                "tilezero tmm2",
                "2:",
                "tileloadd tmm6, [{b} + {row}]",
                "tileloadd tmm4, [{a0} + {stride}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{a1} + {stride}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "add {a0}, 64",
                "add {a1}, 64",
                "add {b}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{c} + {row}], tmm0",
                "tilestored [{c} + {row} + 2048], tmm2",
                add = in(reg) usize::from(add),
                c = in(reg) c,
                row = in(reg) 64usize,
                stride = in(reg) stride,
                a0 = inout(reg) a[0] => _,
                a1 = inout(reg) a[1] => _,
                b = inout(reg) b => _,
                steps = inout(reg) steps => _,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: `self` proves that the processor has tiles.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }
}
