//! A data race that Khronos' validation layer must report; `scripts/validate.sh` checks that it does.

use wgpu::hal::api::Vulkan;

/// Two writes of the same bytes in one command buffer, with nothing between them: a data race that
/// wgpu itself would never record.
#[test]
#[ignore = "breaks the rules on purpose: for scripts/validate.sh"]
fn two_writes_without_a_barrier() {
    const BYTES: u64 = 64;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
    let descriptor = wgpu::BufferDescriptor {
        label: None,
        size: BYTES,
        usage: wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    };
    let buffer = device.create_buffer(&descriptor);
    let mut encoder = device.create_command_encoder(&Default::default());
    // SAFETY: the buffer and the device live until the work is done, and a race between writes of the
    // same zeros is harmless.
    unsafe {
        let raw = buffer.as_hal::<Vulkan>().expect("a Vulkan buffer").raw_handle();
        let vulkan = device.as_hal::<Vulkan>().expect("a Vulkan device");
        encoder.as_hal_mut::<Vulkan, _, _>(|encoder| {
            let commands = encoder.expect("a Vulkan encoder").raw_handle();
            for _ in 0..2 {
                vulkan.raw_device().cmd_fill_buffer(commands, raw, 0, BYTES, 0);
            }
        });
    }
    let submission_index = Some(queue.submit([encoder.finish()]));
    device.poll(wgpu::PollType::Wait { submission_index, timeout: None }).unwrap();
}
