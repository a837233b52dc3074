//! Terraform: one machine of AWS with the plan's device, which starts the container.

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::Plan;
use serde_json::{Value as Json, json};

use crate::quote::{shell, sorted};
use crate::targets::cluster::{HOME, MODELS, Workload, workload};
use crate::targets::{Page, engine, json_file, render_all, shown, unsupported};
use crate::{CodegenError, Options};

const TARGET: &str = "terraform";

const PAGES: &[Page] = &[
    Page::script(
        "user-data.sh",
        include_str!("../../../templates/machine/user-data.sh.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/machine/terraform.md.j2"),
    ),
];

/// Machines by device and number of devices, smallest first (general knowledge, in part from the
/// hardware table's `instance`).
const INSTANCES: [(&str, u32, &str); 17] = [
    ("T4", 1, "g4dn.xlarge"),
    ("T4", 4, "g4dn.12xlarge"),
    ("T4", 8, "g4dn.metal"),
    ("A10G", 1, "g5.2xlarge"),
    ("A10G", 4, "g5.12xlarge"),
    ("A10G", 8, "g5.48xlarge"),
    ("L4", 1, "g6.2xlarge"),
    ("L4", 4, "g6.12xlarge"),
    ("L4", 8, "g6.48xlarge"),
    ("L40S", 1, "g6e.2xlarge"),
    ("L40S", 4, "g6e.12xlarge"),
    ("L40S", 8, "g6e.48xlarge"),
    ("A100-40GB-SXM", 8, "p4d.24xlarge"),
    ("A100-80GB-SXM", 8, "p4de.24xlarge"),
    ("H100-SXM", 8, "p5.48xlarge"),
    ("H200-SXM", 8, "p5en.48xlarge"),
    ("B200", 8, "p6-b200.48xlarge"),
];

/// The parameter that names the newest image with drivers and Docker (Deep Learning AMI guide,
/// "Finding the ID of a DLAMI").
const AMI: &str =
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id";

/// The machine that serves `plan`.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let mut whole = plan.clone();
    // One machine: copies that the plan counts beside each other would be machines of their own.
    whole.placement.count /= crate::targets::cluster::copies(plan).max(1);
    let it = workload(TARGET, &whole, options)?;
    let device = &plan.placement.device;
    let refuse = |field, found: &str, expected: &str| unsupported(TARGET, field, found, expected);
    let fits = |row: &&(&str, u32, &str)| row.0 == device && row.1 >= it.devices && it.devices > 0;
    let Some((_, _, instance)) = INSTANCES.iter().find(fits) else {
        let mut names: Vec<&str> = INSTANCES.iter().map(|row| row.0).collect();
        names.dedup();
        let found = format!("{} x {}", it.devices, shown(device));
        return Err(refuse(
            "placement.device",
            &found,
            &format!("at most 8 of {}", names.join(", ")),
        ));
    };
    if !it.downloads {
        let expected = "a repository that the engine downloads: the machine is new";
        return Err(refuse(
            "model.local_path",
            "a model of this machine",
            expected,
        ));
    }
    let settled = options.cluster.settle(TARGET, &it.plan, it.copies)?;
    let words: Result<Vec<String>, CodegenError> =
        it.words.iter().map(|word| shell(word)).collect();
    let words = words?;
    let (program, arguments) = words
        .split_first()
        .map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let made = |text: String| Value::from_safe_string(text);
    let serving = engine::serving(TARGET, plan)?;
    let env: Result<Vec<Value>, CodegenError> = it
        .env
        .iter()
        .map(|(name, value)| Ok(made(format!("{name}={}", shell(value)?))))
        .collect();
    let context = context! {
        name => made(it.name.clone()),
        parameter => made(parameter(&it)),
        image => it.image,
        program => made(program.to_owned()),
        arguments => made(arguments.join(" ")),
        env => env?,
        engine_key => made(it.key_variable.clone()),
        user => it.user,
        home => made(HOME.to_owned()),
        models => made(MODELS.to_owned()),
        devices => it.devices,
        shm_gib => it.shm_gib,
        instance => made((*instance).to_owned()),
        engine => it.engine,
        ..engine::server(plan, &serving)?
    };
    let mut files = render_all(PAGES, &context, plan)?;
    let main = main(&it, instance, settled.disk_gib());
    files.add("main.tf.json", json_file(&sorted(&main))?)?;
    Ok(files)
}

/// Where the key is kept: a `SecureString` of the parameter store, made by hand.
fn parameter(it: &Workload) -> String {
    format!("/mistral-serving/{}", it.name)
}

/// The configuration. Every text in it is made here or was checked: none has what Terraform
/// would take for an expression.
fn main(it: &Workload, instance: &str, disk: u32) -> Json {
    let name = &it.name;
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Action": "sts:AssumeRole", "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
        }],
    });
    let read = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Action": ["ssm:GetParameter"], "Effect": "Allow",
            "Resource": format!("arn:aws:ssm:*:*:parameter{}/*", parameter(it)),
        }],
    });
    json!({
        "terraform": {
            "required_version": ">= 1.5",
            "required_providers": {"aws": {"source": "hashicorp/aws", "version": "~> 5.100"}},
        },
        "variable": {
            "region": {"type": "string", "default": "us-east-1", "description": "Region with the machine."},
            "clients": {"type": "list(string)", "description": "Address ranges that may reach the server, such as 203.0.113.7/32."},
        },
        "provider": {"aws": {"region": "${var.region}"}},
        "data": {"aws_ssm_parameter": {"image": {"name": AMI}}},
        "resource": {
            "aws_iam_role": {"server": {"name_prefix": "mistral-", "assume_role_policy": sorted(&trust).to_string()}},
            "aws_iam_role_policy": {"key": {
                "name": "read-key", "role": "${aws_iam_role.server.id}", "policy": sorted(&read).to_string(),
            }},
            "aws_iam_instance_profile": {"server": {"name_prefix": "mistral-", "role": "${aws_iam_role.server.name}"}},
            "aws_security_group": {"server": {
                "name_prefix": "mistral-",
                "description": "Clients of the language model server",
            }},
            "aws_vpc_security_group_ingress_rule": {"clients": {
                "for_each": "${toset(var.clients)}",
                "security_group_id": "${aws_security_group.server.id}",
                "cidr_ipv4": "${each.value}",
                "from_port": it.port, "to_port": it.port, "ip_protocol": "tcp",
            }},
            "aws_vpc_security_group_egress_rule": {"https": {
                "security_group_id": "${aws_security_group.server.id}",
                "cidr_ipv4": "0.0.0.0/0", "from_port": 443, "to_port": 443, "ip_protocol": "tcp",
            }},
            "aws_instance": {"server": {
                "ami": "${data.aws_ssm_parameter.image.value}",
                "instance_type": instance,
                "iam_instance_profile": "${aws_iam_instance_profile.server.name}",
                "vpc_security_group_ids": ["${aws_security_group.server.id}"],
                "user_data": "${file(\"${path.module}/user-data.sh\")}",
                "user_data_replace_on_change": true,
                // Its first start reads the key and loads the image: neither is named above.
                "depends_on": ["aws_iam_role_policy.key", "aws_vpc_security_group_egress_rule.https"],
                "metadata_options": {"http_tokens": "required", "http_put_response_hop_limit": 1},
                "root_block_device": {"encrypted": true, "volume_type": "gp3", "volume_size": disk},
                "tags": {"Name": name},
                // A newer image of the machine isn't a reason to start again.
                "lifecycle": {"ignore_changes": ["ami"]},
            }},
        },
        "output": {"address": {
            "description": "Base address for clients.",
            "value": format!("http://${{aws_instance.server.public_ip}}:{}/v1", it.port),
        }},
    })
}
