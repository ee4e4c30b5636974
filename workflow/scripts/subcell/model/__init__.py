"""The SubCell vision transformer and its training, as published, readable file by file.

`sizes` how large a network is; `encoder`, `pooling`, `decoder`, `heads` its parts; `losses`, `masking`, `augment`,
`inputs` what the objectives are made of; `recipes` how they are combined; `sampler`, `batches`, `pretraining`,
`optimisation`, `loop`, `validation`, `resume`, `training` how a network is trained; `processes`, `torchrun` how on several
GPUs; `checkpoint` how it is kept.
"""
