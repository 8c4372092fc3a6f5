//! Two ways to run a program's ops one at a time: the f64 reference, and a session on the device.

use sff::internals::compiler::ops::Node;
use sff::internals::compiler::reference::Reference;
use sff::internals::compiler::tensor::TensorId;
use sff::internals::gpu::session::Session;

/// Something that runs a program's ops one at a time.
pub trait Machine {
    fn set(&mut self, id: TensorId, values: &[f64]);
    /// Sets a tensor of integers.
    fn set_words(&mut self, id: TensorId, values: &[f64]);
    fn get(&mut self, id: TensorId) -> Vec<f64>;
    fn run(&mut self, op: usize);
}

/// The reference, in f64.
pub struct Interpreter<'a> {
    pub ops: &'a [Node],
    pub reference: Reference<'a>,
}

impl Machine for Interpreter<'_> {
    fn set(&mut self, id: TensorId, values: &[f64]) {
        self.reference.set(id, values.to_vec());
    }

    fn set_words(&mut self, id: TensorId, values: &[f64]) {
        self.set(id, values);
    }

    fn get(&mut self, id: TensorId) -> Vec<f64> {
        self.reference.get(id).to_vec()
    }

    fn run(&mut self, op: usize) {
        self.ops[op].reference(&mut self.reference);
    }
}

impl Machine for Session {
    fn set(&mut self, id: TensorId, values: &[f64]) {
        self.write(id, &values.iter().map(|v| *v as f32).collect::<Vec<_>>());
    }

    fn set_words(&mut self, id: TensorId, values: &[f64]) {
        let words: Vec<u32> = values.iter().map(|v| *v as u32).collect();
        self.write_bytes(id, bytemuck::cast_slice(&words));
    }

    fn get(&mut self, id: TensorId) -> Vec<f64> {
        self.read(id).unwrap().into_iter().map(f64::from).collect()
    }

    fn run(&mut self, op: usize) {
        Session::run(self, op..op + 1, None).unwrap();
    }
}
