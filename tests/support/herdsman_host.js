// zigbee-herdsman as a host of the virtual dongle: one JSON request on the command line, one JSON line per event.
// It starts, lets one device in by its install code, interviews it, and sends it an image where one is given.
"use strict";

const request = JSON.parse(process.argv[2]);
const {Controller, setLogger} = require(request.library);
const say = (event, more) => process.stdout.write(`${JSON.stringify({event, ...more})}\n`);
const ignore = () => {};

setLogger({debug: ignore, info: ignore, warning: (text) => say("warning", {text}), error: (text) => say("error", {text})});

async function run() {
    const controller = new Controller({
        network: {
            panID: 0x1a62,
            extendedPanID: [0xdd, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77],
            channelList: [15],
            networkKey: Array.from({length: 16}, (_, index) => index + 1),
        },
        serialPort: {path: request.port, adapter: request.adapter}, // up to 10
        transport: {path: request.port, adapter: request.adapter}, // since 11
        databasePath: `${request.directory}/devices.db`,
        databaseBackupPath: `${request.directory}/devices.db.backup`,
        backupPath: `${request.directory}/coordinator.json`,
        adapter: {},
        acceptJoiningDeviceHandler: async () => true,
    });
    const interviewed = new Promise((resolve, reject) => {
        controller.on("deviceInterview", ({status, device}) => {
            if (status === "successful") resolve(device);
            if (status === "failed") reject(new Error("the interview failed"));
        });
    });
    interviewed.catch(ignore);
    const result = await controller.start();
    say("started", {result, network: await controller.getNetworkParameters(), devices: controller.getDevices().length});
    if (request.installCode) {
        await controller.addInstallCode(request.installCode);
        await controller.permitJoin(60);
        const device = await interviewed;
        await controller.permitJoin(0);
        say("interviewed", {
            model: device.modelID,
            manufacturer: device.manufacturerName,
            ieee: device.ieeeAddr,
            endpoints: device.endpoints.map(({ID, profileID, inputClusters, outputClusters}) => ({ID, profileID, inputClusters, outputClusters})),
        });
        if (request.image) {
            const timing = {requestTimeout: 20000, responseDelay: 0, baseSize: 50};
            await device.updateOta({url: request.image}, undefined, undefined, {}, ignore, timing);
            say("updated");
        }
    }
    if (request.backup) await controller.backup();
    await controller.stop();
    say("stopped");
}

run().then(
    () => process.exit(0),
    (error) => {
        say("failed", {reason: error.message});
        process.exit(1);
    },
);
