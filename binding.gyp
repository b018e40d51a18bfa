# Not a second description of the build: one action that runs CMake, so that node-gyp and prebuildify build from the same sources.
{
  "targets": [
    {
      "target_name": "heed",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/heed.node"],
          "action": ["node", "scripts/gyp.mjs", "<(PRODUCT_DIR)/heed.node"],
        },
      ],
    },
  ],
}
