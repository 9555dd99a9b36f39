//! How much work a question was: in tests every look at a token, a value or a term counts, so that properties can say
//! "linear" without a clock. Outside of tests it is nothing at all.

/// One unit of work.
#[inline]
pub(super) fn step() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// What `work` gives, and how many steps it took.
#[cfg(test)]
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = STEPS.get();
    let result = work();
    (result, STEPS.get() - before)
}
