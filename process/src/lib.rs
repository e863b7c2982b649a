//! What every process of Diachron is made of: clock, entropy, actors, serving and stopping.
