//! Stories of kill -9 and of clients that hang up: no acknowledged write is lost, nothing stays stuck.
//! Five kills in the ordinary run, fifty with `MUSTERD_LONG=1`.
