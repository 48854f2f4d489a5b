//! Tables of decisions over a world made of literals.
