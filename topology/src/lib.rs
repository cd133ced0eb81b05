//! The program `ccfirewall`: [`wiring`] is the picture, [`app`] runs it, [`spouts`] and [`adapters`] meet the
//! world, and [`commands`] is what can be typed.

pub mod adapters;
pub mod app;
pub mod commands;
pub mod config;
pub mod control;
pub mod exchange;
pub mod spouts;
pub mod wiring;
