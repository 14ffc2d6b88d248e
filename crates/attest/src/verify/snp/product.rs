//! The product lines of AMD EPYC that attest guests, and the keys that AMD signs their chips' keys with.
//!
//! What is pinned is each line's signing key (ASK) and root key (ARK), RSA keys of 4096 bits with the exponent
//! 65537. The root key signed the signing key for the years given here, and signs the line's revocation
//! list; a verifier that knows both keys needs neither certificate. Source: AMD's key distribution
//! service, VCEK chains of the three lines.

use ring::signature::RsaPublicKeyComponents;
use serde::Serialize;

/// A product line, as the issuer of its chips' certificates names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    Milan,
    Genoa,
    Turin,
}

impl Product {
    /// By the common name of the certificate's issuer.
    pub(super) fn by_issuer(common_name: &str) -> Option<Self> {
        match common_name {
            "SEV-Milan" => Some(Self::Milan),
            "SEV-Genoa" => Some(Self::Genoa),
            "SEV-Turin" => Some(Self::Turin),
            _ => None,
        }
    }

    /// By the processor's family and model in a report (AMD's CPUID numbering).
    pub(super) fn by_model(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x1f) => Some(Self::Turin),
            _ => None,
        }
    }

    /// The line's signing key.
    pub(super) fn key(self) -> RsaPublicKeyComponents<Vec<u8>> {
        of_modulus(&match self {
            Self::Milan => MILAN,
            Self::Genoa => GENOA,
            Self::Turin => TURIN,
        })
    }

    /// The line's root key.
    pub(super) fn root_key(self) -> RsaPublicKeyComponents<Vec<u8>> {
        of_modulus(&match self {
            Self::Milan => MILAN_ROOT,
            Self::Genoa => GENOA_ROOT,
            Self::Turin => TURIN_ROOT,
        })
    }

    /// The common names of the signing key's and the root key's certificates.
    pub(super) const fn names(self) -> [&'static str; 2] {
        match self {
            Self::Milan => ["SEV-Milan", "ARK-Milan"],
            Self::Genoa => ["SEV-Genoa", "ARK-Genoa"],
            Self::Turin => ["SEV-Turin", "ARK-Turin"],
        }
    }

    /// The serial number of the signing key's certificate.
    pub(super) const fn key_serial(self) -> [u8; 3] {
        match self {
            Self::Milan => [1, 0, 1],
            Self::Genoa => [2, 0, 2],
            Self::Turin => [3, 0, 1],
        }
    }

    /// From when to when the signing key's own certificate holds, in seconds since 1970.
    pub(super) const fn key_validity(self) -> (i64, i64) {
        match self {
            Self::Milan => (1_603_391_060, 2_392_309_460),
            Self::Genoa => (1_667_223_228, 2_456_141_628),
            Self::Turin => (1_684_182_321, 2_473_187_121),
        }
    }
}

fn of_modulus(modulus: &[&str; 16]) -> RsaPublicKeyComponents<Vec<u8>> {
    let n = hex::decode(modulus.concat()).expect("the constants below are hexadecimal");
    RsaPublicKeyComponents { n, e: vec![1, 0, 1] }
}

const MILAN: [&str; 16] = [
    "9d4d9daeb3537db84d4089657fe5b6cbe44e09b4b321dd5a2997edd93f738d94",
    "0ece319c725d7b8b598829697b353701d15617b77271652cce663b232cd54010",
    "dd8c1a3f5389e74bf907b02995f4266404b988e6f962a4b0bb7181d2e9f44ec4",
    "64dc0d0ea575af4a913f9b41f0e5a4c906c874b7aee1a0b3ee3fd2975164072b",
    "5ebfdb1b146cededcc278f38bd9bb9e8aac93eb91541a77f889f7e503dd723f1",
    "87e51269c704dbee5032612c224c5bc28e8cfebef8f85bb378828ad25c00d12d",
    "5b8a93345a0a5b708795b7120a34ccf0ab0d6d4c7703c7a4e4454b8d9587d69b",
    "7d1374dfa51e97c9f40a9d8ea497968420fc1d5b778561aa8214fac8a3da504f",
    "a5ae0d23f82426096d99de28a21b663cd7909b773501b7d84ba46089816fd482",
    "926f7e7d2e4b64583da23cee6cc5f7f8d901a125c8ece3ef9c73318eea7d9b0e",
    "6c7ba41457b1aaa420364cdca9a259ae43e7006b157b26a1c4f1d97da567fe63",
    "76ab6fef628850b016de25025270e43d024d14c2d58e585850c10ab03fbc69e6",
    "4e7a86f02fa38d4012edc8e347cab838f8720e62513e7682fd91b9b8fd0ad33e",
    "86a0eff7b9e9fdc2ab210ae1de80b4e939e1c42512ab405af83d523054e074f9",
    "e6cee45828c8ec38de7c850f950a043c4407804aa3fd2e0222872d1bef80b6ce",
    "45b53c280448b35128a848e617c52dae64165768548f0ceac2f1c57a2f2b3f13",
];

const GENOA: [&str; 16] = [
    "a07261be4e05c309306f4dc031f2f24972525e611a09931345b2e03da8f8a04c",
    "da0fdb467f1092c3f9ec0808971d069652dfbe6e76e324ed394ca4f977e09daf",
    "3e3f7e2441a5b85fd31cef875d4efb025304f8f7b82cc39b8f2f119f25e525cc",
    "3b8c1dfd0ab0b2b7a314444f0ff1dd7efd66182316eda734ba0f2dac3cea19ef",
    "a5fa9f0d323a7f12a043636bddf212da54b992f978c0aa561535192c87d693cd",
    "260bd7dfdc4eb0439aa436cbc936df3365da55baabf06d40ea56195b37116bc1",
    "1dbfd09dfddfdd2f7e942e07da3743cbdca7ee4ab24d6ab8582067138aa16094",
    "6892e958b7331933522593867a44f90e4d1d4c27881d16d8fb94a9ab912b8ea0",
    "9626aa1248b1027ce789406c9c9b814ef3cb3580c2edee6ac96460a5040107f6",
    "8dae47ca5dc806a3b3a6a637d52a4acdb97c357bde6726d13249707dee220cb2",
    "36e53f64bbd0957ad0d889f09b7467ae1dd4f064105e996e0d139ecbee2115f3",
    "ecf3f27c6783c38c5ffff8a579ed5aa9906c402704bbf64e84e07751f6cd846d",
    "8720cb737575d7dffe1674d6d7b2cae9b2b34c28049c21d011c02dd210d02cb1",
    "7bf7dfb69594f1c5f044a1db8065ac7a2238003028ba7b565f28f25291dbdbda",
    "6dc1c1f3fc6e7886efe00426fd563849a7049735a55402b6d6c952875b8b4ed5",
    "7de9f925152a02f48cdce6d640ecd2006cec1a7a488a0c05a56ea6f45eee6155",
];

const TURIN: [&str; 16] = [
    "9ef8391abbf612677d94084a74eeb845753750449be894e6d078737afc753f2c",
    "629f162a24bdf6f6a4c93345e6768ccb61beebb07c60339236a54d7c33c81e72",
    "dda937f601d8b435fdb22adfb4cf0db83bca6d0c37a2a467a684471017d2fa18",
    "b5d0f23718c30148e946909ed4571c01ebff12cda7fc5cf51b54e60b65dea534",
    "2a68aa66b7a9a70d64821c256c42863481289b79a1ba76833a3a235409b29768",
    "2eca1c7e5bffde810f50c9f3833e247a8f0a51611ea509c33285e50c63e30816",
    "019ccaf143e188d1a3ac5ebe4c1765146752cc4ab0d633ab0931ddb98c8b2bee",
    "4e437388c384bebd978e568c496a34c859db2a60fd832dcd0790bd2a58eba610",
    "eaeb736ff80de1134a10743322291f4e6449a97240dd9e3793faa6d381f3885d",
    "74275b24f11ea670fe16a41aa75ba4c372bcb81720781480176debe94b53f147",
    "3987b32c597dcca198841dc4a40d043c21e75393b08b8ec2ba4bb6ff95f2aa7d",
    "889184a806911bec11dfcc0cd72e98764a220cdab09c206a0cd2820894a3d8d7",
    "a771169bce1fab2c4d5f34aeb4f07ba83e4ffd42c007eabd420bebcc2f179de6",
    "8b3f430dac784cf3451e8e6b014c892d32f16859521e9580cb75ca22d1e303e4",
    "345c71fb20ad8698ea1ffefea7fdb6083e997d3d509a6e48f445dfca32aa734d",
    "14c979bffb562e052c0a13d4e8d0900b5ed06aaafc9aedb29f2cae1c4b392555",
];

const MILAN_ROOT: [&str; 16] = [
    "d0b779d9124e75e88996a2b625db15983ec592dba8b56c17d5f3605b8d5763d5",
    "f3d471214949a12f3f42bbd0c7465be02523716de618b2725fbf28f1d4c7d4d1",
    "5e6d90a894d447ac345b5ad644c0d2cccd8ac75873d8acaa4ee65d3e7e29f191",
    "6df73857ff73448704f2394737ad52d63bbc5fddfee9dc4352b1b64b3c6a2780",
    "61ab2626503aee3d72525f8bd4734d4fee3f7c329a8e4bde6b3917461de239d8",
    "d6b3e66d81f8efaf8ec0b4eb4777ee363d2c57ae38fe0c7ab8bcaa07e2d92e64",
    "2aa83f685e9a3edb80650551eeedca1585cfe7d5e6260b5ca20d398262344ff3",
    "a2b4b86ecd5be965c2e9874a1d87fd483d7ab1dfe3278c3f7b03b7d7a6a19dff",
    "2f0ac57ee392c4c4cc03a06ca01e6a6de59bedf228871360c96c44c5cf72335b",
    "22f9ac072903fffc529e2bacb870648279443445b1d5471b410aecfa054392e5",
    "4f86c9f321136062f338f18fbb2c6889627ae613cc5cadec5e901c6bbdad95f5",
    "3250aa7377439de4b79be2422dfe8027e69300b4174b62ac865b2e45cfacfc33",
    "67433d78dc6123249bda7a497e09eacf9e48d2edf7c21e2bd1935079319fc34d",
    "cc054b72bb319eb0691cc3e968a8c6aad6a478b6319b3d8c42be90aaefe3a0a4",
    "20a830d8addae2e8f4cd7c7c7cf5d2538c4fc9d6014bd1645ced7970a6fbb3c7",
    "7583e5990c14c372ef7a727f20b5e840f1df6e41f40b23df865d635a124565ab",
];

const GENOA_ROOT: [&str; 16] = [
    "dc277de52fee14eb9122c916f6fcfd543045ebd343405efda1184bfcbd8f5501",
    "a12b761d7c4060a45fc98b058506c4ff7d70e1cc0d35a772e4713ffb2dd8dc45",
    "f2978c797ed10abf338759921e900e851e2b33412c37012830c65a8defdf9372",
    "af16c0d439e463050a5390009383fde2d2972e9f34a31b7ce1a8721e82e673f2",
    "eab06b29fa8ab5073e0f3ec60bc131b888c29569a4fdd3fa19e08f2889b4abbb",
    "ddaf26196a58edbb77f47173789433284d7864e83af831fe2528e201a91bad4d",
    "0e990452f233b8a71a331f08753a568360c5e92c05d0881531f7e7bed26603af",
    "01c09356a351383cb25d68f7c189f709a6e045c0d55020f404557dda3fcf4725",
    "2a7c61b63d972492e8f95512a4c106d6909a2e004c698c47e9f62bf7be240854",
    "d868fb8c8a4984e91d1fd7e2ad00e79a50364857c9fc27349863735bd466221c",
    "8e527345a1c966911865dff01053962cf50b1a9f58d3fc48b24fea42a669c0fb",
    "2f5e76f84309b386f05da8c47191753064ca5ba782b917246622c06ad1f246a2",
    "aafecd37c42138132a62371bae412bd1ff1030a925212e6bb8e7ea94b302070f",
    "092c1dcb923a5682d0fb3a9c64cd2b2884de3b5289bce9163a969ef683c7971c",
    "fd6a62b9ef873686d52ef4bf0e8e91b69a0bd123887fee1e0009406c689fbbb4",
    "43bc60a1111603f7bb25c050c0b83cd07abfb1b46ea9eb31cfbc01592636e787",
];

const TURIN_ROOT: [&str; 16] = [
    "c1a02b881ec422e55ce19075c03dd87c3c4bfbd7b24bbfa2ce6d098f75bbef63",
    "483425a5f018f7c3f243d998e66d1c56748abfe1df626ab08aa2b5e5a09501d6",
    "345d831a9c713c7568ea22838fb6c355e1555253ecae39ef04f964b3498106b1",
    "a9af44b64c2377afbdb0e86508313d978de443447606291525afeecb254e4b01",
    "24e70e6d5ca3ae1bd8efaba42d00c25ab16dfcc25a910da2841ad67d554806a2",
    "7dbb66e2f8b1326e0bf6b3cfdfe2401c3c9048a5cce97de4089391e6398d2101",
    "0d66c0aa7664e6a94cee4212286db4920426d789a134a0c8da9da8b9afb3b801",
    "bb8b9d9ea68445d867d4d13624ff27febc2341dad9de721150b8fd9ef1b2e4f7",
    "965da8f8bdfd45b0e095e3b5d100e2ed896299524943d05405cab7a2d5aae8ed",
    "25c339f492abdaed1743be4ac3170ca75e604978417c89ef3c0c2e018e1d130c",
    "06a93f28220e1eb0f1f012c98286161e0c8c4f1bd4787f1f4ed2aea9f066fe1d",
    "7953892e3b3fd60d78ea6274e50acc397f4b53afca10ed48bf0b25cdb84004c5",
    "c9da3f883fca51dbc54d1943d1cae400c9192e8590f212c319ce816495ec75de",
    "d97f67b8516ded23fd6887fdaddb73addf3ca14dcbf98036c006ed0b8d57bdf2",
    "e4674b5e523302bffe526df5ee41a8abe0001912a0005ff81e1516d3d5117d32",
    "82b61a15a23d8b9001af19d5066cd7a516f6d622353653427ce1943c8855a561",
];
