//! The cases: one provider, option, flag or spelling each.

use volsync_tests::servers::SECTION;

/// How much of the story is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Two pushes.
    Push,
    /// Two pushes and a restore.
    Whole,
    /// The flow of VolSync's movers.
    Volume,
}

/// One way to set up the remote.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The provider.
    pub(crate) provider: &'static str,
    /// Lines in the section.
    pub(crate) options: Vec<&'static str>,
    /// Further sections.
    pub(crate) sections: &'static str,
    /// What stands before the colon.
    pub(crate) remote: String,
    /// Flags.
    pub(crate) flags: Vec<&'static str>,
    /// Variables.
    pub(crate) env: Vec<(&'static str, &'static str)>,
    /// Over TLS.
    pub(crate) tls: bool,
    /// With an endpoint that is a name, so that buckets may become hosts.
    pub(crate) by_host: bool,
    /// Without keys.
    pub(crate) anonymous: bool,
    /// How much.
    pub(crate) flow: Flow,
}

impl Case {
    fn new(provider: &'static str) -> Self {
        Self {
            provider,
            options: Vec::new(),
            sections: "",
            remote: SECTION.to_owned(),
            flags: Vec::new(),
            env: Vec::new(),
            tls: false,
            by_host: false,
            anonymous: false,
            flow: Flow::Whole,
        }
    }

    fn options(options: &[&'static str]) -> Self {
        Self { options: options.to_vec(), ..Self::new("Minio") }
    }

    fn flags(flags: &[&'static str]) -> Self {
        Self { flags: flags.to_vec(), ..Self::new("Minio") }
    }

    fn remote(remote: &str) -> Self {
        Self { remote: remote.to_owned(), flow: Flow::Push, ..Self::new("Minio") }
    }

    fn env(name: &'static str, value: &'static str) -> Self {
        Self { env: vec![(name, value)], flow: Flow::Push, ..Self::new("Minio") }
    }

    fn over_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    fn by_host(self) -> Self {
        Self { by_host: true, ..self }
    }

    fn pushed(self) -> Self {
        Self { flow: Flow::Push, ..self }
    }

    /// How messages call it.
    pub(crate) fn name(&self) -> String {
        let Self { provider, options, flags, env, remote, tls, by_host, anonymous, flow, .. } = self;
        let set = [(*tls, "tls"), (*by_host, "by host"), (*anonymous, "anonymous")];
        let set: Vec<_> = set.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        format!("{provider} {remote} {flow:?} {options:?} {flags:?} {env:?} {set:?}")
    }
}

/// Every provider of rclone 1.75. Those that rclone itself cannot upload to over plain HTTP are asked over TLS.
const PROVIDERS: &str = "\
    AWS Alibaba ArvanCloud BizflyCloud Ceph ChinaMobile Cloudflare Cubbit DigitalOcean Dreamhost Exaba \
    Fastly FileLu FlashBlade GCS HCP Hetzner HuaweiOBS IBMCOS IDrive IONOS ImpossibleCloud Intercolo \
    Leviia Liara Linode LyveCloud Magalu Mega Minio Netease OVHcloud Other Outscale Petabox Qiniu Rabata \
    RackCorp Rclone Scaleway Scality SeaweedFS Selectel Servercore SpectraLogic Storj Synology \
    TencentCOS Wasabi Zadara Zata ZeroServices us3";
const SIGNED: [&str; 3] = ["AWS", "Intercolo", "Zata"];

/// Options that change what goes over the wire, with each value that does.
const OPTIONS: &[&[&str]] = &[
    &["acl = private"],
    &["acl = public-read", "bucket_acl = private"],
    &["bucket_acl = private"],
    &["storage_class = REDUCED_REDUNDANCY"],
    &["storage_class = GLACIER"],
    &["server_side_encryption = AES256"],
    &["server_side_encryption = aws:kms", "sse_kms_key_id = arn:aws:kms:us-east-1:key"],
    &["server_side_encryption = aws:kms", "disable_checksum = true"],
    &["server_side_encryption = aws:kms:dsse"],
    &["sse_customer_algorithm = AES256", "sse_customer_key = 0123456789abcdef0123456789abcdef"],
    &["sse_customer_algorithm = AES256", "sse_customer_key_base64 = MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="],
    &["requester_pays = true"],
    &["location_constraint = eu-west-1"],
    &["region = eu-west-1"],
    &["list_version = 1"],
    &["list_url_encode = false"],
    &["list_chunk = 2"],
    &["list_chunk = 5000"],
    &["max_upload_parts = 1"],
    &["chunk_size = 6M", "upload_cutoff = 5M"],
    &["disable_checksum = true"],
    &["directory_markers = true"],
    &["use_x_id = false"],
    &["session_token = token"],
    &["no_head = true"],
    &["no_head_object = true"],
    &["use_multipart_uploads = false"],
    &["use_multipart_etag = false"],
    &["use_data_integrity_protections = true"],
    &["use_accept_encoding_gzip = false"],
    &["use_already_exists = false"],
    &["no_system_metadata = true"],
    &["no_check_bucket = true"],
    &["might_gzip = false"],
    &["sign_accept_encoding = false"],
    &["disable_http2 = true"],
    &["leave_parts_on_error = true"],
    &["upload_concurrency = 1"],
    &["object_lock_supported = false"],
];

const FLAGS: &[&[&str]] = &[
    &["--checksum"],
    &["--metadata"],
    &["--metadata", "--s3-no-system-metadata"],
    &["--fast-list"],
    &["--size-only"],
    &["--ignore-times"],
    &["--update"],
    &["--no-update-modtime"],
    &["--use-server-modtime"],
    &["--create-empty-src-dirs", "--s3-directory-markers"],
    &["--header-upload", "Cache-Control: no-cache", "--header-upload", "Content-Disposition: attachment"],
    &["--header-upload", "X-Amz-Meta-Foo: bar", "--header-upload", "x-amz-tagging: a=b"],
    &["--header-upload", "Content-Type: x/y", "--header-upload", "Content-Encoding: br"],
    &["--header-upload", "X-Unknown: 1", "--header-upload", "Content-Language: de"],
    &["--header-download", "X-Foo: bar"],
    &["--header", "X-All: 1"],
    &["--s3-upload-cutoff", "off"],
    &["--s3-storage-class", "STANDARD_IA", "--s3-acl", "bucket-owner-full-control"],
];

const CRYPT: &str = "[crypt]\ntype = crypt\nremote = remote:\npassword = AAECAwQFBgcICQoLDA0OD3HwE0RzvQ\n\
                     filename_encryption = off\ndirectory_name_encryption = false\nsuffix = none\nno_data_encryption = true\n";

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let signed = |provider: &str| SIGNED.contains(&provider);
    let provider = |provider| Case { tls: signed(provider), ..Case::new(provider).by_host() };
    let mut all: Vec<_> = PROVIDERS.split_whitespace().map(|name| provider(name).pushed()).collect();
    all.extend(OPTIONS.iter().map(|options| Case::options(options)));
    all.extend(FLAGS.iter().map(|flags| Case::flags(flags)));
    all.extend([
        Case { flow: Flow::Volume, ..Case::new("Minio") },
        Case { flow: Flow::Volume, ..Case::new("AWS").over_tls() },
        Case::new("AWS").over_tls().by_host(),
        Case::options(OPTIONS[8]).over_tls(),
        Case::new("Minio").over_tls(),
        Case::options(&["use_unsigned_payload = false"]).over_tls(),
        Case::new("Other"),
        Case::new("GCS"),
        Case { anonymous: true, ..Case::new("Minio") },
        Case { provider: "Other", ..Case::options(&["list_version = 2"]) },
        Case { provider: "Other", ..Case::options(&["list_url_encode = true"]) },
        Case { provider: "GCS", ..Case::options(&["use_x_id = true"]) },
        Case::options(&["force_path_style = false"]).by_host(),
        Case { provider: "Wasabi", ..Case::options(&["force_path_style = true"]).by_host() },
        Case::remote(&format!("{SECTION},acl=private")),
        Case::remote(&format!("{SECTION},storage_class='GLACIER_IR',requester_pays")),
        Case::env("RCLONE_S3_ACL", "private"),
        Case::env("RCLONE_CONFIG_REMOTE_STORAGE_CLASS", "STANDARD_IA"),
        Case { sections: CRYPT, ..Case::remote("crypt") },
        Case { sections: "[other]\ntype = alias\nremote = remote,acl=private:\n", ..Case::remote("other") },
    ]);
    all
}
