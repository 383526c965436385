//! How messages become bytes: protobuf by prost, with small buffers.
//!
//! Every open call holds a buffer for each direction. tonic begins with 8 KiB for each; a collector with
//! thousands of agents, two calls each, would hold 32 KiB a host for messages of some hundred bytes. These begin small
//! and grow for the messages that need it.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::{ProstDecoder, ProstEncoder};

/// The codec of all calls.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(settings())
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(FIRST_BYTES, YIELD_BYTES)
}

/// What a buffer holds before it grows.
const FIRST_BYTES: usize = 512;

/// So many encoded bytes are handed on at once, as tonic does.
const YIELD_BYTES: usize = 32 << 10;
