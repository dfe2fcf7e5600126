// zigbee-herdsman's OTA server as a host program, told by lines on standard input: `permit`, `joined`, `update`.
//
// herdsman at its best: no debug logs, no delay between blocks, block size as the devices ask. It knows a device only by
// an interview, so `joined` is answered when every interview is over, before anything is measured. It has no Smart
// Energy: its devices are on the Home Automation profile, without APS security.
"use strict";

const readline = require("node:readline");

const order = JSON.parse(process.argv[2]);
const {Controller, setLogger} = require(order.herdsman);

const say = (word) => process.stdout.write(`${word}\n`);
const complain = (text) => process.stderr.write(`${text}\n`);
const ignore = () => {};
const JOIN_WINDOW_S = 250;

setLogger({debug: ignore, info: ignore, warning: complain, error: complain});

async function start() {
    const controller = new Controller({
        network: {
            panID: 0x1a62,
            extendedPanID: [0xdd, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77],
            channelList: [15],
            networkKey: Array.from({length: 16}, (_, index) => index + 1),
        },
        serialPort: {path: order.port, adapter: order.adapter},
        databasePath: `${order.directory}/devices.db`,
        databaseBackupPath: `${order.directory}/devices.db.backup`,
        backupPath: `${order.directory}/coordinator.json`,
        adapter: {},
        acceptJoiningDeviceHandler: async () => true,
    });
    await controller.start();
    return controller;
}

function interviews(controller) {
    const missing = new Set(order.devices);
    return new Promise((resolve, reject) => {
        controller.on("deviceInterview", ({status, device}) => {
            if (status === "failed") reject(new Error(`the interview of ${device.ieeeAddr} failed`));
            if (status === "successful") missing.delete(device.ieeeAddr.slice(2));
            if (missing.size === 0) resolve();
        });
    });
}

function update(controller) {
    for (const eui64 of order.devices) {
        const timing = {requestTimeout: 60000, responseDelay: 0, baseSize: order.blockBytes};
        const device = controller.getDeviceByIeeeAddr(`0x${eui64}`);
        device.updateOta({url: order.image}, undefined, undefined, {}, ignore, timing).catch((error) => complain(error.message));
    }
}

async function main() {
    const controller = await start();
    const interviewed = interviews(controller);
    interviewed.catch(ignore);
    say("formed");
    for await (const line of readline.createInterface({input: process.stdin})) {
        if (line === "permit") {
            for (const eui64 of order.devices) await controller.addInstallCode(`|${eui64}|${order.installCode}|`);
            await controller.permitJoin(JOIN_WINDOW_S);
            say("permitted");
        } else if (line === "joined") {
            await interviewed;
            say("known");
        } else if (line === "update") {
            update(controller);
        }
    }
}

main().then(
    () => process.exit(0),
    (error) => {
        complain(error.stack);
        process.exit(1);
    },
);
