//! Thrift.
