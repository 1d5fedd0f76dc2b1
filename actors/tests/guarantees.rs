//! O1 to O10 of the design (section 6), one promise a test.
//!
//! Durability and order are watched on a device that writes down what it is asked for (`watch.rs`), under actors on one thread in an
//! order that a seed gives (`bed.rs`); what threads see of each other is tried with real pools. Each test says which break of the code
//! it was seen to catch.

#[path = "guarantees/batch.rs"]
mod batch;
#[path = "guarantees/bed.rs"]
mod bed;
#[path = "guarantees/durable.rs"]
mod durable;
#[path = "guarantees/holes.rs"]
mod holes;
#[path = "guarantees/order.rs"]
mod order;
#[path = "guarantees/seen.rs"]
mod seen;
#[path = "guarantees/urgent.rs"]
mod urgent;
#[path = "guarantees/watch.rs"]
mod watch;
