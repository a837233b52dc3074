//! Small symmetric systems.

/// A square matrix.
pub(crate) type Matrix<const N: usize> = [[f64; N]; N];

/// The lower triangle `L` with `L Lᵀ = a`; `None` when `a` isn't positive definite.
pub(crate) fn cholesky<const N: usize>(a: &Matrix<N>) -> Option<Matrix<N>> {
    let mut l = [[0.0; N]; N];
    for i in 0..N {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| l[i][k] * l[j][k]).sum();
            let rest = a[i][j] - dot;
            if i != j {
                l[i][j] = rest / l[j][j];
            } else if rest > 0.0 && rest.is_finite() {
                l[i][i] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    Some(l)
}

/// `x` with `L x = b`.
pub(crate) fn forward<const N: usize>(l: &Matrix<N>, b: &[f64; N]) -> [f64; N] {
    let mut x = [0.0; N];
    for i in 0..N {
        let dot: f64 = (0..i).map(|k| l[i][k] * x[k]).sum();
        x[i] = (b[i] - dot) / l[i][i];
    }
    x
}

/// `x` with `Lᵀ x = b`.
pub(crate) fn backward<const N: usize>(l: &Matrix<N>, b: &[f64; N]) -> [f64; N] {
    let mut x = [0.0; N];
    for i in (0..N).rev() {
        let dot: f64 = (i + 1..N).map(|k| l[k][i] * x[k]).sum();
        x[i] = (b[i] - dot) / l[i][i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_and_refuses() {
        let a = [[4.0, 2.0, 0.4], [2.0, 5.0, 1.0], [0.4, 1.0, 3.0]];
        let l = cholesky(&a).expect("positive definite");
        let x = backward(&l, &forward(&l, &[1.0, -2.0, 0.5]));
        for (row, b) in a.iter().zip([1.0, -2.0, 0.5]) {
            let sum: f64 = row.iter().zip(x).map(|(a, x)| a * x).sum();
            assert!((sum - b).abs() < 1e-12, "{sum} {b}");
        }
        assert!(cholesky(&[[1.0, 2.0], [2.0, 1.0]]).is_none());
        assert!(cholesky(&[[f64::NAN, 0.0], [0.0, 1.0]]).is_none());
    }
}
