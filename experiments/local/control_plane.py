"""What the SageMaker API says of the endpoint, and how its weights and instances are changed."""

import math

from experiments.local import config
from experiments.local.deployment import Deployment, Json
from experiments.local.fleet import Size
from experiments.local.service_error import ServiceError, invalid


def describe_endpoint(asked: Json, account: str, deployment: Deployment) -> Json:
    """Answer DescribeEndpoint."""
    endpoint, fleet = deployment.endpoint, deployment.fleet
    arn = _found(str(asked["EndpointName"]), "endpoint", account, endpoint)
    is_deploying = deployment.is_deploying()
    variants = [
        {
            "VariantName": name,
            "CurrentWeight": current.weight,
            "DesiredWeight": fleet.desired[name].weight,
            "CurrentInstanceCount": current.instances,
            "DesiredInstanceCount": fleet.desired[name].instances,
            **_stated(endpoint.variants[name]),
        }
        for name, current in fleet.current.items()
    ]
    described: Json = {
        "EndpointName": endpoint.name,
        "EndpointArn": arn,
        "EndpointConfigName": endpoint.name,
        "EndpointStatus": "Updating" if fleet.is_updating or is_deploying else "InService",
        "CreationTime": fleet.created_s,
        "LastModifiedTime": fleet.modified_s,
        "ProductionVariants": variants,
    }
    if is_deploying and endpoint.pending is not None:
        described["PendingDeploymentSummary"] = {
            "EndpointConfigName": endpoint.pending.config,
            "ProductionVariants": variants,
        }
    if endpoint.capture is not None:
        described["DataCaptureConfig"] = {
            "EnableCapture": True,
            "CaptureStatus": "Started",
            "CurrentSamplingPercentage": _percentage(endpoint.capture),
            "DestinationS3Uri": f"s3://local/{endpoint.capture.folder}",
            "KmsKeyId": "none",  # it must be named, and there is none
        }
    return described


def describe_endpoint_config(asked: Json, account: str, deployment: Deployment) -> Json:
    """Answer DescribeEndpointConfig: what the endpoint file states."""
    endpoint = deployment.endpoint
    arn = _found(str(asked["EndpointConfigName"]), "endpoint-config", account, endpoint)
    variants = [
        {
            "VariantName": name,
            **({} if variant.components else {"ModelName": variant.model or name}),
            "InstanceType": variant.instance_type,
            "InitialInstanceCount": variant.instances,
            "InitialVariantWeight": variant.weight,
            **_stated(variant),
        }
        for name, variant in endpoint.variants.items()
    ]
    described: Json = {
        "EndpointConfigName": endpoint.name,
        "EndpointConfigArn": arn,
        "CreationTime": deployment.fleet.created_s,
        "ProductionVariants": variants,
    }
    if (capture := endpoint.capture) is not None:
        described["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": _percentage(capture),
            "DestinationS3Uri": f"s3://local/{capture.folder}",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {
                "CsvContentTypes": capture.csv_content_types,
                "JsonContentTypes": capture.json_content_types,
            },
        }
    return described


def update_weights_and_capacities(asked: Json, account: str, deployment: Deployment) -> Json:
    """Answer UpdateEndpointWeightsAndCapacities; what it asks for holds after `update_takes`."""
    endpoint, fleet = deployment.endpoint, deployment.fleet
    arn = _found(str(asked["EndpointName"]), "endpoint", account, endpoint)
    if fleet.is_updating or deployment.is_deploying():
        raise invalid(f'Cannot update in-progress endpoint "{arn}".')
    desired: dict[str, Size] = {}
    if not asked["DesiredWeightsAndCapacities"]:
        raise invalid("DesiredWeightsAndCapacities must have at least one entry.")
    for one in asked["DesiredWeightsAndCapacities"]:
        name = str(one["VariantName"])
        variant = endpoint.variants.get(name)
        if variant is None:
            raise invalid(f"Variant {name} is none of {', '.join(endpoint.variants)}.")
        weight = one.get("DesiredWeight", fleet.desired[name].weight)
        instances = one.get("DesiredInstanceCount", fleet.desired[name].instances)
        # JSON's true would pass for 1.
        if type(weight) not in (int, float) or not 0 <= weight < math.inf:
            raise invalid(f"DesiredWeight of {name} must be a number from 0 on.")
        if type(instances) is not int or instances < 1:
            raise invalid(f"DesiredInstanceCount of {name} must be a whole number from 1 on.")
        if instances > variant.prepared:
            raise ServiceError(
                400,
                "ResourceLimitExceeded",
                f"{name} can have {variant.prepared} instances: the larger of its instances and "
                "of its autoscaling.max in the endpoint file.",
            )
        desired[name] = Size(weight, instances)
    if not any(size.weight for size in (fleet.desired | desired).values()):
        raise invalid("The weight of at least one variant must be above 0.")
    deployment.update(desired)
    return {"EndpointArn": arn}


def _found(name: str, resource: str, account: str, endpoint: config.Endpoint) -> str:
    """Return the ARN of the endpoint, or of its configuration, which has the same name."""
    arn = f"arn:aws:sagemaker:{endpoint.region}:{account}:{resource}/{name.lower()}"
    if name != endpoint.name or account != endpoint.account:
        noun = resource.replace("endpoint-config", "endpoint configuration")
        raise invalid(f'Could not find {noun} "{arn}".')
    return arn


def _percentage(capture: config.Capture) -> int:
    return 100 if capture.share is None else round(100 * capture.share)


def _stated(variant: config.Variant) -> Json:
    """Describe what the file states of a variant; which routing is AWS's default is not known."""
    stated: Json = {}
    if "routing" in variant.model_fields_set:
        stated["RoutingConfig"] = {"RoutingStrategy": variant.routing}
    if (managed := variant.managed) is not None:
        counts = {"MinInstanceCount": managed.min, "MaxInstanceCount": managed.max}
        stated["ManagedInstanceScaling"] = {"Status": "ENABLED", **counts}
    return stated
