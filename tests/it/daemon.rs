//! Stories of the process itself: start, readiness, reload, drain, control socket, configuration faults.
//! The parts are tested beside their code.
