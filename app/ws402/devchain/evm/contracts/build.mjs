// Compiles DemoToken.sol into DemoToken.json, beside this file. Needed only after a change of the source; in an empty folder:
//   npm install solc@0.8.37 && node PATH/TO/build.mjs
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";

const solc = createRequire(resolve("package.json"))("solc");
const here = new URL(".", import.meta.url);
const output = JSON.parse(
  solc.compile(
    JSON.stringify({
      language: "Solidity",
      sources: { "DemoToken.sol": { content: readFileSync(new URL("DemoToken.sol", here), "utf8") } },
      settings: {
        optimizer: { enabled: true, runs: 200 },
        evmVersion: "cancun",
        viaIR: true,
        outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
      },
    }),
  ),
);
for (const { formattedMessage } of output.errors ?? []) console.error(formattedMessage);
const contract = output.contracts?.["DemoToken.sol"]?.DemoToken;
if (!contract) process.exit(1);
const artifact = { contractName: "DemoToken", abi: contract.abi, bytecode: `0x${contract.evm.bytecode.object}` };
writeFileSync(new URL("DemoToken.json", here), `${JSON.stringify(artifact)}\n`);
