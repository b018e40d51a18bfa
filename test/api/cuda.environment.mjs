// The addon reads the real environment; jest gives tests a copy of it.
import { fileURLToPath } from 'node:url';
import { TestEnvironment } from 'jest-environment-node';

// biome-ignore lint/style/noDefaultExport: jest takes the default export
export default class extends TestEnvironment {
  async setup() {
    await super.setup();
    this.before = process.env.HEED_CUDA;
    process.env.HEED_CUDA = fileURLToPath(new URL('../../cmake-build/Release/heed_cuda_emulated.so', import.meta.url));
  }
  async teardown() {
    if (this.before === undefined) delete process.env.HEED_CUDA;
    else process.env.HEED_CUDA = this.before;
    await super.teardown();
  }
}
