//! Marks the places between which a kill must do no harm. In tests a process can be made to die at any of them.

/// A place in ADD or DEL. Does nothing but in tests.
#[inline]
pub(crate) fn reached(_name: &str) {
    #[cfg(test)]
    crate::walk::die_if_it_is_time(_name);
}
