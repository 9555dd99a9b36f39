//! Stories of the engine over several sources: merge, guard, approval, undo, on both databases.
//! The rules themselves are tested in `src/reconcile`.
